// A bot in JavaScript that needs no library: say `!echo hello` in its room, and it replies `hello`.
//
// Run it beside a cluster (`parlour up -d`; `parlour status` tells the nodes' addresses):
//     node examples/echobot.js [HOST [PORT [ROOM]]]
"use strict";

const { randomBytes } = require("node:crypto");
const net = require("node:net");

const [host = "127.0.0.1", port = "6010", room = "lobby"] = process.argv.slice(2);

// The key makes this program the same client after the connection was lost: its posts go on being counted.
const key = randomBytes(16).toString("hex");
let session = ""; // what the node makes of the key
let posted = 0; // the id of the last post
const open = new Map(); // posts that are not acknowledged, by id
let place = null; // the room's epoch and the offset of the last message seen, to miss nothing after a loss
let socket = null;

function connect() {
  socket = net.createConnection({ host, port: Number(port), noDelay: true });
  socket.setEncoding("utf8");
  socket.on("connect", () => {
    send({ type: "hello", name: "echobot", bot: true, key });
    send({ type: "join", room, ...place });
  });

  // Cut the stream at \n alone: node:readline would also cut at U+2028, which a text may contain.
  let rest = "";
  socket.on("data", (chunk) => {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop();
    for (const line of lines) handle(JSON.parse(line));
  });

  // A node that hears nothing sends a ping every 15 s, so 45 s without a word mean that the connection is broken.
  socket.setTimeout(45_000, () => socket.destroy());
  socket.on("error", (error) => console.error(`echobot: ${error.message}`));
  socket.on("close", () => setTimeout(connect, 1000));
}

function send(message) {
  if (!socket.destroyed) socket.write(JSON.stringify(message) + "\n");
}

function handle(message) {
  switch (message.type) {
    case "ping":
      send({ type: "pong" });
      break;
    case "welcome":
      session = message.session;
      break;
    case "joined":
      console.log(`echobot: in ${message.room}`);
      if (place === null || message.recovered === false) place = { after: message.after };
      place.epoch = message.epoch;
      for (const post of open.values()) send(post); // a post is logged once, however often it is sent
      break;
    case "message":
      if (message.offset <= place.after) break; // seen before
      place.after = message.offset;
      // One's own message is the acknowledgement of the post.
      if (message.id.startsWith(`${session}-`)) open.delete(Number(message.id.slice(session.length + 1)));
      else if (message.kind === undefined && message.text.startsWith("!echo ")) reply(message);
      break;
    case "accepted": // the node had the post already
      open.delete(message.id);
      break;
    case "error":
      console.error(`echobot: ${message.text}`);
      if (message.retry_after === undefined) open.delete(message.id);
      else if (message.id === undefined) socket.destroy(); // connect again, and ask for the room again
      else setTimeout(() => open.has(message.id) && send(open.get(message.id)), message.retry_after * 1000);
      break;
    // Skip all other types: later versions may add some.
  }
}

function reply(message) {
  // With `ref` this is a reply: programs show which message it answers.
  const post = { type: "say", room, id: ++posted, text: message.text.slice(6), ref: message.offset };
  open.set(post.id, post);
  send(post);
}

connect();
