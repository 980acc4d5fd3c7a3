
// What is known, and what is shown of it.

const STALE_AFTER = 6000;
const ASK_EVERY = 2000;
const KEPT_EVENTS = 256;

const state = { cluster: null, stats: null, former: new Map(), rates: new Map(), events: [], last: 0, heard: 0, ended: false };
let running = null;

const tone = { alive: 'good', suspect: 'warn', dead: 'bad', stopped: 'warn', left: 'unknown' };
const linkTone = { self: '', direct: 'good', relayed: 'warn', none: 'bad' };
const gone = member => member.state === 'dead' || member.state === 'stopped' || member.state === 'left';

/** Of several starts of a node the one counts that lives, or else the last. */
function present(members) {
  const names = new Map();
  for (const member of members) {
    const other = names.get(member.name);
    if (!other || gone(other) || !gone(member)) names.set(member.name, member);
  }
  return [...names.values()];
}

function showCluster() {
  const { node, members, converged } = state.cluster;
  write(element('node'), node);
  document.title = `${converged ? '' : '! '}${short(node)} – RumorMQ`;
  const hash = head => head ? head.hash.slice(0, 8) : null;
  const keyed = members.map(member => ({ ...member, key: `${member.name}-${member.incarnation}` }));
  show('members', [['Node'], ['State'], ['Link'], ['RTT', true], ['Routes', true], ['Applied', true], ['Newest', true], ['Hash'], ['Behind', true]],
    keyed.map(member => ({
      key: member.key,
      cells: [
        cell('name', member.name),
        cell('state', member.state, tone[member.state]),
        cell('link', member.via ? `${member.link} via ${short(member.via)}` : member.link, gone(member) ? '' : linkTone[member.link]),
        number('rtt_ms', member.rtt_ms === null ? null : `${member.rtt_ms.toFixed(1)} ms`),
        number('routes', member.routes),
        number('applied', member.applied?.seq),
        number('head', member.head?.seq),
        cell('hash', hash(member.applied)),
        number('lag', member.lag_ops === 0 && member.lag_seconds === 0 ? '0' : `${member.lag_ops} (${seconds(member.lag_seconds)})`, member.lag_seconds > 1 ? 'warn' : ''),
      ],
    })));
  show('sets', [['Set'], ['Member'], ['Newest', true], ['Applied', true], ['Hash'], ['Behind', true], ['For', true]],
    keyed.flatMap(member => Object.entries(member.sets).map(([set, part]) => ({
      key: `${set}-${member.key}`,
      cells: [
        cell('set', set), cell('name', member.name), number('head', part.head?.seq), number('applied', part.applied?.seq),
        cell('hash', hash(part.applied)), number('lag_ops', part.lag_ops), number('lag_seconds', seconds(part.lag_seconds)),
      ],
    }))).sort((a, b) => a.key < b.key ? -1 : 1));
  showPicture();
  showSummary();
}

/** What one node says of its way to another: this node's own word is newer than its numbers. */
function linkOf(from, to) {
  if (from === state.cluster.node) return present(state.cluster.members).find(member => member.name === to)?.link;
  return state.stats?.nodes.find(node => node.node === from)?.peers.find(peer => peer.node === to)?.link;
}

function showPicture() {
  const members = present(state.cluster.members).map(member => ({ ...member, key: `${member.name}-${member.incarnation}` }));
  draw(members, linkOf);
  const names = members.map(member => member.name);
  show('matrix', [['From'], ...names.map(name => [short(name)])], names.map(from => ({
    key: from,
    cells: [cell('from', from), ...names.map(to => {
      if (from === to) return cell(to, '');
      const link = linkOf(from, to);
      return cell(to, link ?? 'not told', linkTone[link] ?? 'unknown');
    })],
  })));
}

function showSummary() {
  const members = present(state.cluster.members);
  const counts = new Map();
  for (const member of members) counts.set(member.state, (counts.get(member.state) ?? 0) + 1);
  const of = [...counts].map(([name, count]) => `${count} ${name}`).join(', ');
  const unreached = members.filter(member => !gone(member) && member.link === 'none').length;
  const converged = state.cluster.converged;
  const parts = [
    `${members.length} ${members.length === 1 ? 'member' : 'members'}: ${of}.`,
    unreached ? `${unreached} not reached.` : '',
    converged ? 'This node has all it knows of.' : 'This node is behind.',
  ];
  write(element('summary'), parts.filter(Boolean).join(' '));
  document.body.dataset.converged = String(converged);
}

function showBadge() {
  const badge = element('badge');
  const silent = Date.now() - state.heard;
  let [text, className] = ['connecting', 'unknown'];
  if (state.ended) [text, className] = ['node stopped', 'bad'];
  else if (running === null) [text, className] = [element('ask').hidden ? 'paused' : 'needs a token', 'unknown'];
  else if (state.cluster && silent > STALE_AFTER) [text, className] = [`no word for ${Math.round(silent / 1000)} s`, 'bad'];
  else if (state.cluster && !state.cluster.converged) [text, className] = ['behind', 'warn'];
  else if (state.cluster && present(state.cluster.members).some(member => member.state === 'suspect' || member.state === 'dead')) {
    [text, className] = ['converged, members missing', 'warn'];
  } else if (state.cluster) [text, className] = ['converged', 'good'];
  write(badge, text);
  badge.className = `badge ${className}`;
}

/** What has grown since the last answer, each second. */
function noteRates(nodes) {
  const sum = list => list.reduce((total, count) => total + count, 0);
  for (const node of nodes) {
    const key = `${node.node}-${node.incarnation}`;
    const former = state.former.get(key);
    const spent = former ? node.uptime_seconds - former.uptime_seconds : 0;
    if (spent > 0) {
      const rate = pick => (pick(node) - pick(former)) / spent;
      state.rates.set(key, {
        received: rate(it => sum(it.received_total)), delivered: rate(it => sum(it.delivered_total)),
        bytesIn: rate(it => it.bytes_in_total), bytesOut: rate(it => it.bytes_out_total), dropped: rate(it => it.dropped_total),
      });
    }
  }
  state.former = new Map(nodes.map(node => [`${node.node}-${node.incarnation}`, node]));
}

function showStats() {
  const { nodes, missing } = state.stats;
  const hashes = new Set(nodes.map(node => node.routes_hash).filter(Boolean));
  const behind = nodes.filter(node => !node.converged).length;
  const told = `${nodes.length} of ${nodes.length + missing.length} nodes have answered`;
  const same = hashes.size <= 1 ? 'all of these have the same routes' : `they have ${hashes.size} different sets of routes`;
  write(element('hashes'), `${told}; ${same}${behind ? `; ${behind} behind` : ''}.`);
  element('hashes').className = hashes.size > 1 || behind ? 'warn' : '';
  const rows = [
    ...nodes.map(node => {
      const lag = node.peers.reduce((most, peer) => Math.max(most, peer.lag_seconds), 0);
      const ops = node.peers.reduce((total, peer) => total + peer.lag_ops, 0);
      return {
        key: node.node,
        cells: [
          cell('name', node.node), cell('converged', node.converged ? 'yes' : 'no', node.converged ? 'good' : 'warn'),
          cell('hash', node.routes_hash?.slice(0, 8)), number('lag_ops', ops), number('lag_seconds', seconds(lag), lag > 1 ? 'warn' : ''),
          number('filters', rounded(node.filters)), number('retained', rounded(node.retained)), cell('ready', node.ready ? 'yes' : 'no', node.ready ? '' : 'warn'),
          cell('text', node.divergence_total ? `${node.divergence_total} divergences` : '', 'bad'),
        ],
      };
    }),
    ...missing.map(({ node, reason }) => ({
      key: node,
      cells: [cell('name', node), cell('converged', 'no answer', 'bad'), cell('hash', null),
        number('lag_ops', null), number('lag_seconds', null), number('filters', null), number('retained', null), cell('ready', null), cell('text', reason)],
    })),
  ].sort((a, b) => a.key < b.key ? -1 : 1);
  show('convergence', [['Node'], ['Converged'], ['Routes’ hash'], ['Changes behind', true], ['For', true], ['Filters', true], ['Retained', true], ['Ready'], ['']], rows);

  show('rates', [['Node'], ['Messages in/s', true], ['out/s', true], ['Bytes in/s', true], ['out/s', true], ['Dropped/s', true],
    ['Clients', true], ['Sessions', true], ['Subscriptions', true], ['Queued', true], ['In flight', true]],
  nodes.map(node => {
    const rate = state.rates.get(`${node.node}-${node.incarnation}`);
    const shown = pick => rate ? rounded(pick(rate)) : null;
    return {
      key: node.node,
      cells: [
        cell('name', node.node), number('received', shown(it => it.received)), number('delivered', shown(it => it.delivered)),
        number('bytes_in', rate ? bytes(rate.bytesIn) : null), number('bytes_out', rate ? bytes(rate.bytesOut) : null),
        number('dropped', shown(it => it.dropped), rate?.dropped > 0 ? 'warn' : ''), number('connections', rounded(node.connections)),
        number('sessions', rounded(node.sessions)), number('subscriptions', rounded(node.subscriptions)),
        number('queued', rounded(node.queued)), number('inflight', rounded(node.inflight)),
      ],
    };
  }));
  const waiting = nodes.flatMap(node => node.peers.filter(peer => peer.unacked > 0).map(peer => ({
    key: `${node.node} ${peer.node}`,
    cells: [
      cell('from', node.node), cell('to', peer.node), number('unacked', rounded(peer.unacked)), number('bytes', bytes(peer.unacked_bytes)),
      number('oldest', seconds(peer.oldest_seconds), peer.oldest_seconds > 5 ? 'warn' : ''), number('lost', rounded(peer.dropped_total)),
    ],
  })));
  element('buffers').parentElement.hidden = waiting.length === 0;
  element('no-buffers').hidden = waiting.length > 0;
  show('buffers', [['At'], ['For'], ['Messages', true], ['Bytes', true], ['Oldest', true], ['Dropped so far', true]], waiting);
  const own = nodes.find(node => node.node === state.cluster?.node);
  if (own) write(element('version'), `RumorMQ ${own.version}, up ${rounded(Math.floor(own.uptime_seconds))} s`);
  if (state.cluster) showPicture();
}

function showEvents() {
  const tones = { alarm: 'bad', member: 'warn', link: 'warn' };
  show('events', [['Time'], ['About'], ['Node'], ['What']], state.events.map(event => ({
    key: String(event.number),
    cells: [
      cell('time', new Date(event.at_ms).toLocaleTimeString()), cell('kind', event.kind, tones[event.kind] ?? ''),
      cell('node', event.node), cell('text', event.text),
    ],
  })));
}

function handle(name, data) {
  state.heard = Date.now();
  if (name === 'cluster') {
    state.cluster = data;
    showCluster();
  } else if (name === 'event' && data.number > state.last) {
    state.last = data.number;
    state.events = [data, ...state.events].slice(0, KEPT_EVENTS);
    showEvents();
  } else if (name === 'end') {
    state.ended = true;
  }
  showBadge();
}

function complain(error) {
  const needsToken = error?.status === 401;
  element('ask').hidden = !needsToken;
  const trouble = element('trouble');
  trouble.hidden = !error || (needsToken && !sessionStorage.getItem(TOKEN));
  write(trouble, error ? error.message : '');
  if (needsToken) {
    stop();
    element('token').focus();
  }
}

async function watch(signal) {
  while (!signal.aborted) {
    try {
      await follow(`/api/v1/events/stream?after=${state.last}`, signal, (name, data) => {
        if (name !== 'end') state.ended = false;
        complain(null);
        handle(name, data);
      });
    } catch (error) {
      if (signal.aborted) return;
      // A node that does not answer says so by its silence.
      complain(error.status ? error : null);
    }
    showBadge();
    await rest(1000, signal);
  }
}

async function question(signal) {
  while (!signal.aborted) {
    try {
      const answer = await ask('/api/v1/stats?scope=cluster', signal);
      state.stats = await answer.json();
      noteRates(state.stats.nodes);
      showStats();
    } catch (error) {
      if (signal.aborted) return;
      console.debug(error);
    }
    await rest(ASK_EVERY, signal);
  }
}

function start() {
  if (running) return;
  running = new AbortController();
  state.heard = Date.now();
  watch(running.signal);
  question(running.signal);
  showBadge();
}

function stop() {
  running?.abort();
  running = null;
  showBadge();
}

const pause = element('pause');
pause.addEventListener('click', () => {
  const paused = pause.getAttribute('aria-pressed') !== 'true';
  pause.setAttribute('aria-pressed', String(paused));
  write(pause, paused ? 'Go on' : 'Pause');
  if (paused) stop(); else start();
});
// Nobody looks: the node need not tell.
document.addEventListener('visibilitychange', () => {
  if (document.hidden) stop(); else if (pause.getAttribute('aria-pressed') !== 'true') start();
});
element('ask').addEventListener('submit', event => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, element('token').value.trim());
  element('ask').hidden = true;
  start();
});
setInterval(showBadge, 1000);
start();
