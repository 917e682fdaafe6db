// The demo page: takes pictures and camera frames, asks this computer's own program about them one
// at a time, and shows what it says.

import { Refusal, ask, wait } from "./demo_ask.js";
import { Camera, cameraReason } from "./demo_camera.js";
import { Stage, bitmapOf, drawThumbnail } from "./demo_draw.js";
import { Cards, Timings, agreementText, disagrees, element, markedFaces, namesOf, summaryOf } from "./demo_faces.js";

const root = document.documentElement;
const find = (id) => document.getElementById(id);
const facts = JSON.parse(find("facts").textContent);
const { models } = facts;

const stage = new Stage(find("picture"));
const cards = new Cards(find("cards"), models);
const timings = new Timings(find("timing"), models);

const NOTHING_YET = "The probabilities of every face will stand here.";
const MOST_PICTURES = 200;
const RETRY_MS = 400;
const SPOKEN_MS = 3000; // at most one announcement this often while the webcam runs

const state = {
  source: "none", // none, pictures, webcam
  whole: !facts.finder,
  cam: false,
  mirror: true,
  entries: [],
  shown: null,
  pumping: false,
  together: 0,
  apart: 0,
};

// ---- theme --------------------------------------------------------------------------------

const THEME_KEY = "fersearch-theme";
const darkSystem = window.matchMedia("(prefers-color-scheme: dark)");
const theme = () => root.dataset.theme || (darkSystem.matches ? "dark" : "light");
const nameTheme = () => { find("theme").textContent = theme() === "dark" ? "Light theme" : "Dark theme"; };

function startTheme() {
  let kept = null;
  try { kept = window.localStorage.getItem(THEME_KEY); } catch { /* the choice then holds until the page is closed */ }
  if (kept === "dark" || kept === "light") root.dataset.theme = kept;
  find("theme").hidden = false;
  find("theme").addEventListener("click", () => {
    root.dataset.theme = theme() === "dark" ? "light" : "dark";
    try { window.localStorage.setItem(THEME_KEY, root.dataset.theme); } catch { /* as above */ }
    nameTheme();
  });
  darkSystem.addEventListener("change", nameTheme);
  nameTheme();
}

// ---- what is shown ------------------------------------------------------------------------

const say = (text) => { if (find("status").textContent !== text) find("status").textContent = text; };

function setSource(source) {
  state.source = source;
  find("stage").dataset.source = source;
  find("hint").hidden = source !== "none";
  find("mirror").hidden = source !== "webcam";
  find("clear").hidden = source !== "pictures";
  find("strip").hidden = source !== "pictures" || state.entries.length < 2;
  find("webcam").textContent = source === "webcam" ? "Stop webcam" : "Start webcam";
  find("webcam").setAttribute("aria-pressed", String(source === "webcam"));
}

function count() {
  if (state.source === "webcam") return [state.together, state.apart];
  const faces = state.entries.flatMap((entry) => latest(entry)?.faces || []);
  const apart = faces.filter((face) => disagrees(namesOf(face, models))).length;
  return [faces.length - apart, apart];
}

/** Show an answer: boxes over the picture, cards, agreement. */
function showAnswer(source, answer) {
  const mirror = state.source === "webcam" && state.mirror;
  const marked = markedFaces(answer, models, mirror);
  const summary = summaryOf(marked, models);
  stage.show(source, { ...answer, marked, mirror, label: summary });
  cards.render(marked);
  find("none").hidden = marked.length > 0;
  find("none").textContent = "No face was found here. If the picture is a face already cut out, take the whole picture.";
  const agreement = models.length > 1 ? agreementText(...count()) : "";
  find("tally").hidden = !agreement;
  find("tally").textContent = agreement;
  const note = noteOf(answer, marked);
  find("crop-note").hidden = !note;
  find("crop-note").textContent = note;
  return summary;
}

function noteOf(answer, marked) {
  const notes = [];
  if (marked.length) notes.push("The small pictures are what the models were shown.");
  if (marked.some(({ heats }) => heats.some(Boolean))) {
    notes.push("Bright (Grad-CAM): what spoke for the class that the model names, not proof of what it reasons from.");
  }
  if (answer.left_out) notes.push(`${answer.left_out} smaller faces are left out.`);
  return notes.join(" ");
}

function showNothing(text) {
  cards.render([]);
  find("none").hidden = false;
  find("none").textContent = text;
  find("tally").hidden = true;
  find("crop-note").hidden = true;
}

function showTimes(answer, live) {
  document.querySelector(".timing").hidden = false;
  timings.add(answer.milliseconds, { live, cam: state.cam });
}

// ---- pictures -----------------------------------------------------------------------------

const key = () => `${state.whole}-${state.cam}`;
const latest = (entry) => entry.answers.get(key()) || entry.answers.get(`${state.whole}-${!state.cam}`);

async function addFiles(files) {
  const chosen = [...files].slice(0, MOST_PICTURES - state.entries.length);
  if (!chosen.length) {
    if (files.length) say(`At most ${MOST_PICTURES} pictures at a time: clear some first.`);
    return;
  }
  stopWebcam();
  if (state.source !== "pictures") timings.clear();
  const added = chosen.map((file) => makeEntry(file));
  state.entries.push(...added);
  setSource("pictures");
  select(added[0]);
  for (const entry of added) await prepare(entry);
}

function makeEntry(file) {
  const canvas = element("canvas");
  const label = element("span", "", "waiting");
  const button = element("button", "", canvas, label);
  button.type = "button";
  button.title = file.name;
  const entry = { file, name: file.name, bitmap: null, ready: false, foreign: false, answers: new Map(), error: "", button, canvas, label };
  button.addEventListener("click", () => select(entry));
  find("strip").append(element("li", "", button));
  return entry;
}

/** Decode a picture for the screen; kinds that this browser does not know come back from the program. */
async function prepare(entry) {
  try {
    entry.bitmap = await bitmapOf(entry.file);
    drawThumbnail(entry.canvas, entry.bitmap);
  } catch {
    entry.foreign = true;
  }
  entry.ready = true;
  if (state.shown === entry) select(entry);
  pump();
}

async function pump() {
  if (state.pumping) return;
  state.pumping = true;
  try {
    for (let entry = next(); entry && state.source === "pictures"; entry = next()) await classify(entry);
  } finally {
    state.pumping = false;
  }
}

function next() {
  const open = (entry) => entry.ready && !entry.error;
  const { shown } = state;
  if (shown && open(shown) && !shown.answers.has(key())) return shown;
  return state.entries.find((entry) => open(entry) && !latest(entry));
}

async function classify(entry) {
  const asked = key();
  try {
    if (entry.file.size > facts.most_bytes) throw new Refusal(`larger than ${facts.most_bytes / 1e6} MB`, 413);
    const preview = entry.foreign && !entry.bitmap;
    const answer = await ask(entry.file, { ...state, preview });
    if (preview && answer.preview) {
      entry.bitmap = await bitmapOf(new Blob([Uint8Array.from(atob(answer.preview), (sign) => sign.charCodeAt(0))], { type: "image/jpeg" }));
      drawThumbnail(entry.canvas, entry.bitmap);
    }
    delete answer.preview;
    entry.answers.set(asked, answer);
    if (state.source === "pictures") showTimes(answer, false);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    if (error.status === 429) return void (await wait(RETRY_MS));
    entry.error = error.message;
  }
  nameEntry(entry);
  if (state.source === "pictures" && state.shown) select(state.shown);
}

function nameEntry(entry) {
  const answer = latest(entry);
  const names = (answer?.faces || []).map((face) => namesOf(face, models));
  const first = names.length ? [...new Set(names[0].map(({ label }) => label))].join(" / ") : "no face";
  entry.label.textContent = entry.error ? "not read" : answer ? first + (names.length > 1 ? ` +${names.length - 1}` : "") : "waiting";
  entry.button.classList.toggle("wrong", Boolean(entry.error));
  entry.button.classList.toggle("apart", names.some(disagrees));
  entry.button.setAttribute("aria-label", `${entry.name}: ${entry.label.textContent}`);
}

/** Show a picture, and what is known of it. */
function select(entry) {
  state.shown = entry;
  for (const other of state.entries) other.button.setAttribute("aria-current", String(other === entry));
  const answer = latest(entry);
  const done = state.entries.filter((other) => other.error || latest(other)).length;
  const progress = state.entries.length > 1 ? ` (${done} of ${state.entries.length} pictures done)` : "";
  if (entry.error) {
    if (entry.bitmap) stage.show(entry.bitmap, { width: entry.bitmap.width, height: entry.bitmap.height, label: entry.name });
    else stage.clear();
    showNothing(`${entry.name}: ${entry.error}`);
    say(`${entry.name}: ${entry.error}${progress}`);
  } else if (answer) {
    say(`${entry.name}: ${showAnswer(entry.bitmap, answer)}${progress}`);
  } else {
    if (entry.bitmap) stage.show(entry.bitmap, { width: entry.bitmap.width, height: entry.bitmap.height, label: entry.name });
    showNothing("Looking for faces.");
    say(`${entry.name}: looking for faces${progress}`);
  }
  pump();
}

function clearPictures() {
  state.entries.forEach(({ bitmap }) => bitmap?.close());
  state.entries = [];
  state.shown = null;
  find("strip").replaceChildren();
  find("files").value = "";
  stage.clear();
  timings.clear();
  document.querySelector(".timing").hidden = true;
  showNothing(NOTHING_YET);
  setSource("none");
  say("Ready.");
}

// ---- webcam -------------------------------------------------------------------------------

const camera = new Camera();

async function startWebcam() {
  say("Waiting for the camera.");
  try {
    await camera.open();
  } catch (error) {
    say(cameraReason(error));
    return;
  }
  if (state.entries.length) clearPictures();
  Object.assign(state, { together: 0, apart: 0 });
  timings.clear();
  setSource("webcam");
  root.dataset.frames = "0";
  try {
    await watch();
    if (state.source === "webcam") stopWebcam("The camera has stopped.");
  } catch (error) {
    stopWebcam(error instanceof Refusal ? error.message : "The camera has stopped.");
    if (!(error instanceof Refusal)) throw error;
  }
}

function stopWebcam(text = "The webcam is off.") {
  camera.close();
  if (state.source !== "webcam") return;
  stage.clear();
  showNothing(NOTHING_YET);
  setSource("none");
  say(text);
}

/** Ask about one frame after the other: the next is taken when the last is answered. */
async function watch() {
  let spoken = 0;
  for await (const { canvas, begun, picture } of camera.frames()) {
    let answer;
    try {
      answer = await ask(await picture, { ...state, begun });
    } catch (error) {
      if (error.status !== 429) throw error;
      await wait(RETRY_MS);
      continue;
    }
    if (state.source !== "webcam") return;
    const apart = answer.faces.filter((face) => disagrees(namesOf(face, models))).length;
    state.apart += apart;
    state.together += answer.faces.length - apart;
    const summary = showAnswer(canvas, answer);
    showTimes(answer, true);
    root.dataset.frames = String(Number(root.dataset.frames) + 1);
    if (performance.now() - spoken > SPOKEN_MS) {
      spoken = performance.now();
      say(summary);
    }
  }
}

// ---- controls -----------------------------------------------------------------------------

const press = (id, pressed) => find(id).setAttribute("aria-pressed", String(pressed));

/** Another question is asked from now on: what was measured under the last one is put away. */
function changed() {
  Object.assign(state, { together: 0, apart: 0 });
  timings.clear();
  state.entries.forEach(nameEntry);
  if (state.source === "pictures" && state.shown) select(state.shown);
}

function setWhole(whole) {
  if (state.whole === whole) return;
  state.whole = whole;
  press("whole", whole);
  press("found", !whole);
  changed();
}

function startControls() {
  find("choose").addEventListener("click", () => find("files").click());
  find("files").addEventListener("change", () => {
    const files = [...find("files").files];
    find("files").value = ""; // the same file may be chosen again
    addFiles(files);
  });
  find("webcam").addEventListener("click", () => (state.source === "webcam" ? stopWebcam() : startWebcam()));
  find("clear").addEventListener("click", clearPictures);
  find("found").addEventListener("click", () => setWhole(false));
  find("whole").addEventListener("click", () => setWhole(true));
  find("cam").addEventListener("click", () => {
    state.cam = !state.cam;
    press("cam", state.cam);
    changed();
  });
  find("mirror").addEventListener("click", () => {
    state.mirror = !state.mirror;
    press("mirror", state.mirror);
  });
  startDropping();
}

function startDropping() {
  let depth = 0; // entering a child comes before leaving its parent
  const brings = (event) => [...(event.dataTransfer?.types || [])].includes("Files");
  const over = (change) => {
    depth = Math.max(0, depth + change);
    find("stage").classList.toggle("over", depth > 0);
  };
  document.addEventListener("dragenter", (event) => { if (brings(event)) over(1); });
  document.addEventListener("dragleave", (event) => { if (brings(event)) over(-1); });
  document.addEventListener("dragover", (event) => { if (brings(event)) event.preventDefault(); });
  document.addEventListener("drop", (event) => {
    over(-depth);
    if (!brings(event)) return;
    event.preventDefault();
    addFiles([...event.dataTransfer.files]);
  });
}

startTheme();
startControls();
root.dataset.ready = "yes";
