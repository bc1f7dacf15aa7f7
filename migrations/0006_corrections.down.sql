DROP INDEX read_v1.messages_corrected;
