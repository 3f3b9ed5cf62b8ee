// The line to the server: questions and answers by number, and a new try whenever it breaks.

const FIRST_WAIT = 400;
const LONGEST_WAIT = 5000;

export class Gone extends Error {}

export function connect(address, hears) {
  const open = new Map();
  let socket = null;
  let last = 0;
  let wait = FIRST_WAIT;

  function dial() {
    socket = new WebSocket(address);
    socket.addEventListener("open", () => {
      wait = FIRST_WAIT;
      hears.online();
    });
    socket.addEventListener("message", (event) => heard(JSON.parse(event.data)));
    socket.addEventListener("close", () => {
      for (const asked of open.values()) asked.fail(new Gone("the server went away before it answered"));
      open.clear();
      hears.offline();
      setTimeout(dial, wait);
      wait = Math.min(1.6 * wait, LONGEST_WAIT);
    });
  }

  function heard(message) {
    const asked = open.get(message.id);
    if (!asked) return;
    if (message.progress !== undefined) {
      asked.progress?.(message);
      return;
    }
    open.delete(message.id);
    if (message.error === undefined) asked.done(message);
    else asked.fail(Object.assign(new Error(message.error), { cancelled: message.cancelled === true }));
  }

  // Ask for something; `progress` hears how far it is. The promise knows the number it was sent under.
  function ask(what, details = {}, progress = null) {
    const id = ++last;
    const answer = new Promise((done, fail) => {
      if (socket.readyState !== WebSocket.OPEN) {
        fail(new Gone("the server does not answer now; the page tries again by itself"));
        return;
      }
      open.set(id, { done, fail, progress });
      socket.send(JSON.stringify({ id, do: what, ...details }));
    });
    return Object.assign(answer, { id });
  }

  dial();
  return { ask };
}
