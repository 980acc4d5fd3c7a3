
// The members in a ring, with the links between them.

const ring = element('ring');
const SVG = ring.namespaceURI;
/** More members than this are drawn without the words below their names, and only with links that are not as they should be. */
const CROWDED = 24;

function shape(parent, tag, attributes) {
  const child = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) child.setAttribute(name, value);
  return parent.appendChild(child);
}

/** How a pair of nodes is joined, by what each of the two says; undefined is nothing. */
function joined(one, other) {
  const said = [one, other].filter(link => link !== undefined);
  if (said.length === 0) return null;
  if (said.every(link => link === 'direct')) return 'direct';
  if (said.includes('direct')) return 'half';
  return said.includes('relayed') ? 'relayed' : 'none';
}

const meaning = { direct: 'linked', half: 'linked as one of them sees it', relayed: 'joined through a third node', none: 'no way between them' };

/** Whoever has said good-bye is not missed. */
const hasGone = member => member.state === 'stopped' || member.state === 'left';

/** Draws `members` (`{name, state, link}`) and what `linkOf(from, to)` says of each pair. */
function draw(members, linkOf) {
  const crowded = members.length > CROWDED;
  const radius = members.length === 1 ? 0 : 100;
  const size = crowded ? Math.max(2, 220 / members.length) : 13;
  const places = members.map((member, at) => {
    const angle = 2 * Math.PI * at / members.length - Math.PI / 2;
    return [radius * Math.cos(angle), radius * Math.sin(angle)];
  });
  const picture = document.createDocumentFragment();
  members.forEach((from, i) => members.forEach((to, j) => {
    if (j <= i || hasGone(from) || hasGone(to)) return;
    const kind = joined(linkOf(from.name, to.name), linkOf(to.name, from.name));
    if (kind === null || (crowded && kind === 'direct')) return;
    const [[x1, y1], [x2, y2]] = [places[i], places[j]];
    const line = shape(picture, 'line', { x1, y1, x2, y2, class: kind });
    line.dataset.from = from.name;
    line.dataset.to = to.name;
    shape(line, 'title', {}).textContent = `${from.name} and ${to.name}: ${meaning[kind]}`;
  }));
  members.forEach((member, at) => {
    const [x, y] = places[at];
    const link = shape(picture, 'a', { href: `#members-${member.key}`, class: `${member.state} ${member.link === 'self' ? 'own' : ''}` });
    link.dataset.name = member.name;
    link.dataset.state = member.state;
    link.setAttribute('aria-label', `${member.name}, ${member.state}${member.link === 'self' ? ', this node' : `, ${meaning[member.link]}`}`);
    shape(link, 'circle', { cx: x, cy: y, r: size });
    if (member.state !== 'alive') shape(link, 'text', { x, y: y + 5 }).textContent = member.state === 'suspect' ? '?' : '×';
    if (crowded && members.length > 60) return;
    shape(link, 'text', { x, y: y + size + 12 }).textContent = short(member.name).slice(0, 16);
    if (!crowded) shape(link, 'text', { x, y: y + size + 23, class: 'state' }).textContent = member.link === 'self' ? 'this node' : member.state;
  });
  // The same picture is left alone: whoever has moved to a member with the keyboard stays there.
  const drawn = Array.from(picture.children, child => child.outerHTML).join('');
  if (ring.dataset.drawn === String(hash(drawn))) return;
  ring.dataset.drawn = String(hash(drawn));
  const focused = document.activeElement?.dataset?.name;
  ring.replaceChildren(ring.firstElementChild, picture);
  if (focused !== undefined && ring.contains(document.activeElement) === false) {
    for (const link of ring.querySelectorAll('a')) if (link.dataset.name === focused) link.focus();
  }
}

function hash(text) {
  let sum = 0;
  for (let at = 0; at < text.length; at += 1) sum = (sum * 31 + text.charCodeAt(at)) | 0;
  return sum;
}
