
// Tables whose rows stay where they are while their cells change, so that neither focus nor a reader's place is lost.

const element = id => document.getElementById(id);

/** A cell: `field` names it, `text` is what it says, `tone` how urgent that is. */
const cell = (field, text, tone = '') => ({ field, text: text === null || text === undefined ? '–' : String(text), tone });
const number = (field, text, tone = '') => ({ ...cell(field, text, tone), number: true });

/** Writes only what is different: what is not touched is not read out again. */
function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function make(parent, tag, className = '') {
  const child = document.createElement(tag);
  if (className) child.className = className;
  return parent.appendChild(child);
}

/** Shows `rows`, each `{key, cells}`, under `columns`, each `[title, isNumber]`. */
function show(id, columns, rows) {
  const table = element(id);
  const head = table.tHead ?? table.createTHead();
  const titles = JSON.stringify(columns);
  if (head.dataset.titles !== titles) {
    head.dataset.titles = titles;
    head.replaceChildren();
    const line = head.insertRow();
    for (const [title, isNumber] of columns) {
      const column = make(line, 'th', isNumber ? 'number' : '');
      column.scope = 'col';
      column.textContent = title;
    }
  }
  const body = table.tBodies[0] ?? table.createTBody();
  const present = new Map(Array.from(body.rows, row => [row.dataset.key, row]));
  rows.forEach(({ key, cells }, at) => {
    let row = present.get(key);
    if (!row) {
      row = document.createElement('tr');
      row.dataset.key = key;
      row.id = `${id}-${key}`;
    }
    present.delete(key);
    if (body.rows[at] !== row) body.insertBefore(row, body.rows[at] ?? null);
    fill(row, cells);
  });
  for (const row of present.values()) row.remove();
}

function fill(row, cells) {
  while (row.cells.length > cells.length) row.lastChild.remove();
  cells.forEach(({ field, text, tone, number }, at) => {
    let place = row.cells[at];
    if (!place) {
      place = make(row, at === 0 ? 'th' : 'td');
      if (at === 0) place.scope = 'row';
    }
    place.dataset.field = field;
    const className = [number ? 'number' : '', field === 'text' ? 'text' : '', tone].filter(Boolean).join(' ');
    if (place.className !== className) place.className = className;
    write(place, text);
  });
}

const short = name => name.split('@')[0];

const rounded = value => value >= 100 || Number.isInteger(value) ? Math.round(value).toLocaleString('en') : value.toFixed(1);

const bytes = value => {
  for (const unit of ['B', 'KiB', 'MiB']) {
    if (value < 1024) return `${rounded(value)} ${unit}`;
    value /= 1024;
  }
  return `${rounded(value)} GiB`;
};

const seconds = value => value === 0 ? '0' : `${value.toFixed(1)} s`;
