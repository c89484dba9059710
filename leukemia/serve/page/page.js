"use strict";
// Images go up in small batches, and each row is drawn as its answer comes.
const BATCH = 8, BYTES = 100 * 1024 * 1024;
const at = (id) => document.getElementById(id);
const rows = [];  // {file, url, answer, label, item}
let model = null, open = -1, busy = Promise.resolve(), waiting = 0;

function make(tag, options = {}, ...children) {
  const { className, ...rest } = options;
  const node = Object.assign(document.createElement(tag), rest);
  if (className) node.className = className;
  node.append(...children);
  return node;
}
const percent = (p) => `${(100 * p).toFixed(1)}%`;

async function start() {
  model = await (await fetch("model")).json();
  at("run").textContent = model.run;
  const test = model.figures.test;
  if (test) {
    at("figures").textContent = `On its test images (${test.n}): accuracy ${test.accuracy.toFixed(3)}`
      + (test.cancer_recall === undefined ? "." : `, sensitivity for cancer ${test.cancer_recall.toFixed(3)}.`);
  }
  at("digits").replaceChildren(...model.classes.slice(0, 9).flatMap((name, i) => [
    make("kbd", { textContent: String(i + 1) }), ` ${name} `]));
}

function add(files) {
  const images = [...files].filter((file) => file.type.startsWith("image/") || /\.(tiff?|bmp|webp)$/i.test(file.name));
  if (!images.length) { say("There is no image among these files."); return; }
  waiting += images.length;
  let batch = [], size = 0;
  const send = () => { const some = batch; busy = busy.then(() => ask(some)); batch = []; size = 0; };
  for (const file of images) {
    if (batch.length && (batch.length === BATCH || size + file.size > BYTES)) send();
    batch.push(file); size += file.size;
  }
  send();
}

async function ask(files) {
  const form = new FormData();
  for (const file of files) form.append("files", file, file.name);
  let answers;
  try {
    const got = await fetch("predict", { method: "POST", body: form });
    const body = await got.json();
    answers = body.images || files.map((file) => ({ file: file.name, error: body.detail || "The server gave no answer." }));
  } catch {
    answers = files.map((file) => ({ file: file.name, error: "The server cannot be reached." }));
  }
  files.forEach((file, i) => {
    const row = { file, name: file.webkitRelativePath || file.name, url: URL.createObjectURL(file), answer: answers[i], label: "" };
    row.item = draw(row);
    rows.push(row);
  });
  waiting -= files.length;
  order();
}

// Those for a human come first: bad files, then what is referred, the least sure at the top.
function rank(row) {
  const a = row.answer;
  if (a.error) return -1;
  const top = Math.max(...Object.values(a.probabilities));
  return (a.decision === "refer" ? 0 : 2) + top;
}
function order() {
  const active = open < 0 ? null : shown()[open];
  rows.sort((a, b) => rank(a) - rank(b));
  at("list").replaceChildren(...shown().map((row) => row.item));
  open = active ? shown().indexOf(active) : -1;
  const referred = rows.filter((row) => row.answer.error || row.answer.decision === "refer").length;
  at("tools").hidden = !rows.length;
  at("counts").textContent = `${rows.length} images, ${referred} for a human`;
  say(waiting ? `${rows.length} judged, ${waiting} to go.` : `${rows.length} images judged, ${referred} for a human.`);
}
const shown = () => rows.filter((row) => !at("only").checked || row.answer.error || row.answer.decision === "refer");
const say = (text) => { at("state").textContent = text; };

function draw(row) {
  const a = row.answer, middle = make("div");
  middle.append(make("h3", { textContent: row.name }));
  if (a.error) {
    middle.append(make("p", { className: "refer", textContent: a.error }));
  } else {
    const p = a.probabilities[a.prediction];
    middle.append(make("p", { className: "said" }, `${a.prediction} `, make("span", { className: "why", textContent: percent(p) }), " · ",
      make("span", { className: a.decision, textContent: a.decision }), make("span", { className: "why", textContent: a.why ? `: ${a.why}` : "" })));
    if (a.p_cancer !== null) {
      const bar = make("div", { className: "bar" });
      bar.setAttribute("role", "img");
      bar.setAttribute("aria-label", `P(cancer) ${percent(a.p_cancer)}, threshold ${percent(model.threshold)}`);
      const fill = make("i"), mark = make("b");
      fill.style.width = percent(a.p_cancer); mark.style.left = percent(model.threshold);
      bar.append(fill, mark);
      middle.append(make("p", { className: "why", textContent: `P(cancer) ${percent(a.p_cancer)}, threshold ${percent(model.threshold)}` }), bar);
    }
  }
  const choice = make("select", {}, make("option", { value: "", textContent: "your label" }),
    ...model.classes.map((name) => make("option", { value: name, textContent: name })));
  choice.setAttribute("aria-label", `Your label of ${row.name}`);
  choice.onchange = () => { row.label = choice.value; };
  row.choice = choice;
  const own = make("div", { className: "own" }, choice);
  const item = make("li", { className: "row", tabIndex: -1 },
    make("img", { className: "smear", src: row.url, alt: "", loading: "lazy" }), middle, own);
  if (!a.error) {
    const button = make("button", { type: "button", textContent: "where it looks" });
    button.onclick = () => heat(row, button);
    own.append(make("p", {}, button));
    row.button = button;
  }
  item.onfocus = () => { open = shown().indexOf(row); };
  return item;
}

async function heat(row, button) {
  const there = row.item.querySelector(".heat");
  if (there) { there.remove(); return; }
  button.disabled = true;
  const form = new FormData();
  form.append("file", row.file, row.file.name);
  const box = make("div", { className: "heat" });
  try {
    const got = await fetch("explain", { method: "POST", body: form });
    if (!got.ok) throw new Error((await got.json()).detail);
    const score = row.answer.ood_score;
    box.append(make("img", { src: URL.createObjectURL(await got.blob()), alt: `Heat maps of what the run looks at in ${row.name}` }),
      make("p", { className: "why", textContent: score === null ? "" :
        `Distance from what the run knows: ${score.toFixed(3)}; above ${model.ood_limit === null ? "no limit" : model.ood_limit.toFixed(3)} it is out of distribution.` }));
  } catch (error) {
    box.append(make("p", { className: "refer", textContent: error.message || "The server cannot be reached." }));
  }
  row.item.append(box);
  button.disabled = false;
}

// Names that a spreadsheet would compute are written as text.
const cell = (value) => {
  const text = String(value ?? "").replace(/^([=+\-@\t\r])/, "'$1");
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};
function save() {
  const head = ["file", "label", "prediction", "p_cancer", "decision", "why", "error"];
  const lines = rows.map((row) => [row.name, row.label, row.answer.prediction, row.answer.p_cancer, row.answer.decision, row.answer.why, row.answer.error]);
  const blob = new Blob([[head, ...lines].map((line) => line.map(cell).join(",")).join("\n") + "\n"], { type: "text/csv" });
  const link = make("a", { href: URL.createObjectURL(blob), download: "labels.csv" });
  link.click();
}

async function walk(items) {
  const files = [];
  const enter = async (entry) => {
    if (entry.isFile) files.push(await new Promise((done, fail) => entry.file(done, fail)));
    else {
      const reader = entry.createReader();
      for (;;) {  // a folder's entries come in parts
        const some = await new Promise((done, fail) => reader.readEntries(done, fail));
        if (!some.length) break;
        for (const one of some) await enter(one);
      }
    }
  };
  for (const entry of items.map((item) => item.webkitGetAsEntry()).filter(Boolean)) await enter(entry);
  return files;
}

at("files").onchange = (event) => { add(event.target.files); event.target.value = ""; };
at("folder").onchange = (event) => { add(event.target.files); event.target.value = ""; };
at("only").onchange = order;
at("export").onclick = save;
const drop = at("drop");
for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", name === "dragover");
    if (name === "drop") walk([...event.dataTransfer.items]).then(add);
  });
}
document.addEventListener("keydown", (event) => {
  if (/^(INPUT|SELECT|TEXTAREA|BUTTON)$/.test(event.target.tagName) || event.ctrlKey || event.metaKey || event.altKey) return;
  const list = shown();
  if (!list.length) return;
  const step = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1 }[event.key];
  if (step) {
    event.preventDefault();
    open = Math.min(Math.max(open + step, 0), list.length - 1);
    list[open].item.focus();
  } else if (open >= 0 && event.key === "Enter" && list[open].button) {
    list[open].button.click();
  } else if (open >= 0 && /^[0-9]$/.test(event.key) && Number(event.key) <= model.classes.length) {
    list[open].choice.selectedIndex = Number(event.key);
    list[open].label = list[open].choice.value;
  }
});
start().catch(() => say("The server cannot be reached."));
