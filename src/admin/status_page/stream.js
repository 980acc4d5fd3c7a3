
// Questions to the node: what happens is streamed, what all nodes do is asked every few seconds.

/** Kept while the tab is open. */
const TOKEN = 'rumormq-read-token';

async function ask(path, signal) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const answer = await fetch(path, { headers, signal, cache: 'no-store' });
  if (answer.ok) return answer;
  const error = await answer.json().then(body => body.error, () => answer.statusText);
  throw Object.assign(new Error(error), { status: answer.status });
}

/** Calls `handle(name, data)` for each message, until the stream ends. Returns the seconds it is to be left alone. */
async function follow(path, signal, handle) {
  const answer = await ask(path, signal);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    const messages = text.split('\n\n');
    text = messages.pop();
    for (const message of messages) {
      const field = name => message.split('\n').find(line => line.startsWith(`${name}: `))?.slice(name.length + 2);
      if (field('data') !== undefined) handle(field('event'), JSON.parse(field('data')));
    }
  }
}

const rest = (ms, signal) => new Promise(resolve => {
  const timer = setTimeout(resolve, ms);
  signal.addEventListener('abort', () => { clearTimeout(timer); resolve(); }, { once: true });
});
