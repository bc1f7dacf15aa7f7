DROP VIEW public.paco_conversations;
DROP VIEW public.conversation_messages;
DROP VIEW turnlog.parked;
DROP VIEW turnlog.participants;
DROP VIEW turnlog.messages;
DROP VIEW turnlog.conversations;
DROP VIEW turnlog.checkpoint;
