// What the demo says beside the picture: a card for each face, the agreement, the milliseconds.

import { drawCrop, heatCanvas, imageCanvas, percent } from "./demo_draw.js";

const SVG = "http://www.w3.org/2000/svg";

/** Make an element with a class and children: elements or texts. */
export function element(name, className = "", ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

function markOf(model) {
  const svg = document.createElementNS(SVG, "svg");
  svg.classList.add("mark");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#mark-${model.mark}`);
  svg.append(use);
  return svg;
}

const bestOf = (values) => values.indexOf(Math.max(...values));

/** Return what each model names a face, with its probability. */
export const namesOf = (face, models) => face.verdicts.map(({ probabilities }, place) => {
  const best = bestOf(probabilities);
  return { label: models[place].classes[best], value: probabilities[best] };
});

export const disagrees = (names) => names.some(({ label }) => label !== names[0].label);

/** Return the faces in the order in which they stand on the screen, with what is drawn of each. */
export function markedFaces(answer, models, mirror) {
  const middle = (face) => (face.box[0] + face.box[2] / 2) * (mirror ? -1 : 1);
  const faces = [...answer.faces].sort((a, b) => middle(a) - middle(b));
  return faces.map((face, place) => {
    const names = namesOf(face, models);
    const heats = face.verdicts.map(({ cam }) => (cam ? heatCanvas(cam) : null));
    return {
      ...face,
      names,
      heats,
      // With two maps the picture would say neither: they stand side by side in the card.
      heat: face.corners && models.length === 1 ? heats[0] : null,
      disagree: disagrees(names),
      number: faces.length > 1 ? place + 1 : 0,
      lines: names.map(({ label, value }) => ({ text: `${label} ${percent(value)}` })),
    };
  });
}

/** Say in one line what the models name the faces. */
export function summaryOf(marked, models) {
  if (!marked.length) return "No face found.";
  const of = ({ names, number }) => {
    const said = models.length === 1
      ? `${names[0].label} ${percent(names[0].value)}`
      : names.map(({ label, value }, place) => `${models[place].title}: ${label} ${percent(value)}`).join(", ");
    return number ? `Face ${number}: ${said}` : said;
  };
  const shown = marked.slice(0, 6).map(of).join(". ");
  return `${shown}.${marked.length > 6 ? ` And ${marked.length - 6} more.` : ""}`;
}

/** The cards; those that are there are filled anew, so that nothing flickers from frame to frame. */
export class Cards {
  constructor(root, models) {
    this.root = root;
    this.models = models;
    this.labels = [...new Set(models.flatMap(({ classes }) => classes))];
    this.cards = [];
  }

  render(marked) {
    while (this.cards.length < marked.length) {
      const card = this.make();
      this.cards.push(card);
      this.root.append(card.root);
    }
    this.cards.forEach((card, place) => {
      card.root.hidden = place >= marked.length;
      if (!card.root.hidden) this.fill(card, marked[place]);
    });
  }

  make() {
    const { models, labels } = this;
    const card = { title: element("h3"), flag: element("span", "disagree", "They disagree"), crops: [], rows: [] };
    const crops = element("div", "crops");
    models.forEach((model, place) => {
      const canvas = element("canvas");
      canvas.setAttribute("role", "img");
      const caption = element("figcaption", `role-${model.mark}`);
      if (models.length > 1) caption.append(element("small", "", markOf(model), ` ${model.title}`));
      card.crops[place] = { canvas, name: caption.appendChild(element("b")), value: caption.appendChild(element("span")) };
      crops.append(element("figure", "crop", canvas, caption));
    });
    const head = element("tr", "", element("th", "", "Class"), element("td", ""));
    for (const model of models) head.append(element("th", "", model.title));
    head.querySelectorAll("th").forEach((cell) => { cell.scope = "col"; });
    const body = element("tbody");
    for (const label of labels) {
      const name = element("th", "", label);
      name.scope = "row";
      const rails = element("td", "rails");
      rails.setAttribute("aria-hidden", "true");
      const row = { root: element("tr", "", name, rails), cells: [] };
      models.forEach((model, place) => {
        const bar = element("i", `role-${model.mark}`);
        rails.append(element("span", "rail", bar));
        const value = element("td", "value");
        row.root.append(value);
        row.cells[place] = { bar, value, at: model.classes.indexOf(label) };
      });
      card.rows.push(row);
      body.append(row.root);
    }
    const table = element("table", "bars", element("thead", "unseen", head), body);
    card.root = element("article", models.length > 1 ? "face compared" : "face", element("header", "", card.title, card.flag), element("div", "inside", crops, table));
    return card;
  }

  fill(card, { names, verdicts, heats, disagree, number, whole }) {
    const { models } = this;
    const place = whole ? "Whole picture" : number ? `Face ${number}` : "Face";
    card.title.textContent = place;
    card.root.setAttribute("aria-label", place);
    card.flag.hidden = !disagree;
    card.root.classList.toggle("apart", disagree);
    verdicts.forEach(({ crop, probabilities }, at) => {
      const { canvas, name, value } = card.crops[at];
      drawCrop(canvas, imageCanvas(crop), heats[at]);
      canvas.setAttribute("aria-label", `What ${models[at].title} was shown${heats[at] ? ", with where it looked" : ""}`);
      name.textContent = names[at].label;
      value.textContent = ` ${percent(names[at].value)}`;
      const best = bestOf(probabilities);
      for (const { root, cells } of card.rows) {
        const cell = cells[at];
        const known = cell.at >= 0;
        cell.value.textContent = known ? percent(probabilities[cell.at]) : "none";
        cell.bar.style.width = known ? `${(100 * probabilities[cell.at]).toFixed(2)}%` : "0";
        root.classList.toggle(`best-${at}`, known && cell.at === best);
      }
    });
  }
}

/** How often two models name the same class; empty for one model or no face. */
export function agreementText(together, apart) {
  const all = together + apart;
  if (!all) return "";
  if (all === 1) return together ? "The models agree on this face." : "The models disagree on this face.";
  return `The models agree on ${together} of ${all} faces (${Math.round((100 * together) / all)}\u00a0%).`;
}

const median = (values) => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};

const shownTime = (value) => (value >= 99.95 ? value.toFixed(0) : value.toFixed(1));

/** The table of milliseconds: this picture or frame, and the median of the last thirty. */
export class Timings {
  constructor(table, models) {
    this.body = table.querySelector("tbody");
    this.heads = { now: table.querySelector("#timing-now"), median: table.querySelector("#timing-median") };
    this.models = models;
    this.steps = [
      ["Decode", ({ decode }) => decode],
      ["Find faces", ({ find }) => find],
      ["Cut out", ({ crop }) => crop.reduce((sum, value) => sum + value, 0)],
      ...models.map((model, at) => ["Classify", ({ classify }) => classify[at], models.length > 1 ? model : null]),
      ["Grad-CAM", ({ cam }) => cam.reduce((sum, value) => sum + value, 0), null, "cam"],
      ["Whole round trip", (times) => times.round_trip, null, "whole"],
    ];
    this.rows = this.steps.map(([name, , model, kind]) => {
      const head = element("th", "", name);
      head.scope = "row";
      if (model) head.append(" ", element("span", `role-${model.mark}`, markOf(model), " ", model.title));
      const row = { now: element("td"), median: element("td"), root: element("tr", kind || "", head) };
      row.root.append(row.now, row.median);
      this.body.append(row.root);
      return row;
    });
    this.rate = element("td");
    this.rateRow = element("tr", "rate", element("th", "", "Frames a second"), element("td"), this.rate);
    this.rateRow.firstChild.scope = "row";
    this.body.append(this.rateRow);
    this.clear();
  }

  clear() {
    this.kept = [];
    this.ends = [];
  }

  /** Add the times of an answer; `live` for frames of the webcam. */
  add(times, { live, cam }) {
    this.kept = [...this.kept.slice(-29), times];
    this.ends = [...this.ends.slice(-30), performance.now()];
    this.heads.now.textContent = live ? "This frame" : "This picture";
    const several = this.kept.length > 1;
    this.heads.median.textContent = several ? `Median of ${this.kept.length}` : "Median";
    this.steps.forEach(([, read, , kind], place) => {
      const row = this.rows[place];
      row.root.hidden = kind === "cam" && !cam;
      row.now.textContent = shownTime(read(times));
      row.median.textContent = several ? shownTime(median(this.kept.map(read))) : "";
    });
    const [begin, end] = [this.ends[0], this.ends.at(-1)];
    this.rateRow.hidden = !live || this.ends.length < 3;
    if (!this.rateRow.hidden) this.rate.textContent = ((1000 * (this.ends.length - 1)) / (end - begin)).toFixed(1);
  }
}
