// The script of a page that talks with an agent by the vendor's own client, for tests/src/talk.rs. It keeps what it was
// told in `heard`; a test that wants more done with it sets `onHeard`.
globalThis.heard = [];
globalThis.talk = null;

// Begins a conversation, and answers its id.
globalThis.begin = async (signedUrl, options) => {
  const hear = (kind) => (told) => {
    // As it was then, without what cannot leave the page.
    const said = { kind, ...JSON.parse(JSON.stringify(typeof told === "object" ? told : { message: told })) };
    heard.push(said);
    globalThis.onHeard?.(said);
  };
  globalThis.talk = await ElevenLabsClient.Conversation.startSession({
    signedUrl,
    textOnly: true,
    ...options,
    onConnect: hear("connect"),
    onMessage: hear("message"),
    onAgentResponseCorrection: hear("correction"),
    onDisconnect: hear("disconnect"),
    onError: hear("error"),
  });
  return globalThis.talk.getId();
};
