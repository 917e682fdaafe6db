// What the demo draws: the picture with its boxes, labels and Grad-CAM, crops and thumbnails.

export const SKY = "#56b4e9";
export const AMBER = "#f5a742";
// One colour for each model, as on the page: bright enough on the labels' dark ground.
const MODEL_COLOURS = ["#6cc0f0", "#f59a5b"];
const LABEL_GROUND = "rgba(14, 19, 25, 0.88)";
const LABEL_INK = "#ffffff";

// Stops of the inferno scale (van der Walt and Smith, matplotlib): equal steps look equal.
const HEAT = [[0, 0, 4], [40, 11, 84], [101, 21, 110], [159, 42, 99], [212, 72, 66], [245, 125, 21], [250, 193, 39], [252, 255, 164]];

export const percent = (value) => {
  const rounded = Math.round(100 * value);
  if (rounded === 100 && value < 1) return ">99\u00a0%";
  if (rounded === 0 && value > 0) return "<1\u00a0%";
  return `${rounded}\u00a0%`;
};

function bytesOf(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let place = 0; place < binary.length; place += 1) bytes[place] = binary.charCodeAt(place);
  return bytes;
}

/** Make a canvas of pixels that the server sent: grey or RGB. */
export function imageCanvas({ width, height, channels, data }) {
  const bytes = bytesOf(data);
  return filled(width, height, (place) => {
    if (channels === 1) return [bytes[place], bytes[place], bytes[place], 255];
    return [bytes[3 * place], bytes[3 * place + 1], bytes[3 * place + 2], 255];
  });
}

/** Make a canvas of a Grad-CAM map: what says nothing stays clear. */
export function heatCanvas({ width, height, data }) {
  const bytes = bytesOf(data);
  return filled(width, height, (place) => {
    const value = bytes[place] / 255;
    const scaled = value * (HEAT.length - 1);
    const low = Math.min(Math.floor(scaled), HEAT.length - 2);
    const part = scaled - low;
    const colour = HEAT[low].map((from, band) => from + part * (HEAT[low + 1][band] - from));
    return [...colour, 255 * Math.min(0.78, 1.6 * value)];
  });
}

function filled(width, height, colourAt) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let place = 0; place < width * height; place += 1) image.data.set(colourAt(place), 4 * place);
  context.putImageData(image, 0, 0);
  return canvas;
}

/** Draw a square picture, and a map over it, into a canvas. */
export function drawCrop(canvas, crop, heat) {
  const side = 2 * 112;
  canvas.width = side;
  canvas.height = side;
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(crop, 0, 0, side, side);
  if (heat) context.drawImage(heat, 0, 0, side, side);
}

/** Draw a picture into a thumbnail, cut to a square in its middle. */
export function drawThumbnail(canvas, bitmap) {
  const side = Math.min(bitmap.width, bitmap.height);
  canvas.width = 144;
  canvas.height = 144;
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, (bitmap.width - side) / 2, (bitmap.height - side) / 2, side, side, 0, 0, 144, 144);
}

const LARGEST = 1600;
const LARGEST_ZOOM = 8; // a cropped face of 48 pixels is not blown up to the whole screen

/** Decode a picture, and make it smaller where it is larger than any screen needs. */
export async function bitmapOf(source) {
  const bitmap = await createImageBitmap(source);
  const scale = LARGEST / Math.max(bitmap.width, bitmap.height);
  if (scale >= 1) return bitmap;
  const small = await createImageBitmap(bitmap, {
    resizeWidth: Math.max(1, Math.round(scale * bitmap.width)),
    resizeHeight: Math.max(1, Math.round(scale * bitmap.height)),
    resizeQuality: "high",
  });
  bitmap.close();
  return small;
}

/** The canvas that shows a picture; it is drawn anew whenever its place changes its size. */
export class Stage {
  constructor(canvas) {
    this.canvas = canvas;
    this.scene = null;
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  /** Show a picture with what was said of it: `marked` faces in the order of their numbers. */
  show(source, { width, height, marked = [], mirror = false, label = "" }) {
    this.scene = { source, width, height, marked, mirror };
    this.canvas.setAttribute("aria-label", label);
    this.canvas.style.aspectRatio = `${width} / ${height}`;
    this.canvas.style.maxWidth = `min(100%, ${LARGEST_ZOOM * width}px)`;
    this.draw();
  }

  clear() {
    this.scene = null;
    this.canvas.setAttribute("aria-label", "No picture yet");
    this.canvas.style.aspectRatio = "";
    this.canvas.style.maxWidth = "";
    this.canvas.getContext("2d").clearRect(0, 0, this.canvas.width, this.canvas.height);
  }

  draw() {
    if (!this.scene) return;
    const { source, width, height, marked, mirror } = this.scene;
    const ratio = window.devicePixelRatio || 1;
    const shown = this.canvas.getBoundingClientRect();
    if (!shown.width) return;
    const scale = Math.min(shown.width / width, shown.height / height);
    // Set only when they change: setting clears the canvas and costs a layout.
    const pixels = [Math.round(width * scale * ratio), Math.round(height * scale * ratio)];
    if (this.canvas.width !== pixels[0]) this.canvas.width = pixels[0];
    if (this.canvas.height !== pixels[1]) this.canvas.height = pixels[1];
    const context = this.canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = "high";
    const zoom = pixels[0] / width;
    context.save();
    if (mirror) context.setTransform(-1, 0, 0, 1, pixels[0], 0);
    if (source) context.drawImage(source, 0, 0, pixels[0], pixels[1]);
    else {
      context.fillStyle = "#26303a";
      context.fillRect(0, 0, pixels[0], pixels[1]);
    }
    for (const face of marked) if (face.heat) drawHeat(context, face, zoom);
    context.restore();
    const place = (box) => [(mirror ? width - box[0] - box[2] : box[0]) * zoom, box[1] * zoom, box[2] * zoom, box[3] * zoom];
    for (const face of marked) if (!face.whole) drawBox(context, place(face.box), face, ratio);
    const taken = [];
    for (const face of marked) drawLabel(context, place(face.box), face, { ratio, size: pixels, taken });
  }
}

// The corners of the crop say where the map belongs: crops are turned so that the eyes are level.
function drawHeat(context, { heat, corners }, zoom) {
  const [[left, top], [rightX, rightY], [downX, downY]] = corners;
  context.save();
  context.transform(
    ((rightX - left) * zoom) / heat.width, ((rightY - top) * zoom) / heat.width,
    ((downX - left) * zoom) / heat.height, ((downY - top) * zoom) / heat.height,
    left * zoom, top * zoom,
  );
  context.drawImage(heat, 0, 0);
  context.restore();
}

function drawBox(context, [x, y, width, height], { disagree }, ratio) {
  const corner = Math.min(6 * ratio, width / 4);
  context.setLineDash([]);
  for (const [colour, line] of [["rgba(8, 12, 16, 0.6)", 5], [disagree ? AMBER : SKY, 2.5]]) {
    context.strokeStyle = colour;
    context.lineWidth = line * ratio;
    if (disagree && line < 5) context.setLineDash([7 * ratio, 5 * ratio]);
    context.beginPath();
    context.roundRect(x, y, width, height, corner);
    context.stroke();
  }
  context.setLineDash([]);
}

function drawLabel(context, [x, y, , height], { number, lines, disagree, whole }, { ratio, size, taken }) {
  if (!lines.length) return;
  const font = 14 * ratio;
  const step = 19 * ratio;
  const pad = 7 * ratio;
  const mark = lines.length > 1 ? 15 * ratio : 0;
  context.font = `600 ${font}px system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif`;
  context.textBaseline = "middle";
  const texts = lines.map(({ text }, place) => (number && place === 0 && !mark ? `${number}  ${text}` : text));
  const tag = number && mark ? context.measureText(String(number)).width + 8 * ratio : 0;
  const wide = Math.max(...texts.map((text) => context.measureText(text).width)) + 2 * pad + mark + tag;
  const high = step * texts.length + pad * 0.8;
  const left = Math.max(0, Math.min(whole ? 0 : x - 1.5 * ratio, size[0] - wide));
  let top = whole ? 0 : y - high - 4 * ratio;
  // No room above: below the box; none there either: inside, where it covers least of a face.
  if (top < 0) top = y + height + 4 * ratio;
  if (top + high > size[1]) top = Math.max(0, Math.min(y + height, size[1]) - high - 4 * ratio);
  // Labels of neighbours step aside, downwards, while there is room.
  for (let turn = 0; turn < 6; turn += 1) {
    const hit = taken.find((other) => left < other[0] + other[2] && other[0] < left + wide && top < other[1] + other[3] && other[1] < top + high);
    if (!hit || hit[1] + hit[3] + high > size[1]) break;
    top = hit[1] + hit[3] + 2 * ratio;
  }
  taken.push([left, top, wide, high]);
  context.fillStyle = LABEL_GROUND;
  context.beginPath();
  context.roundRect(left, top, wide, high, 4 * ratio);
  context.fill();
  if (disagree) {
    context.fillStyle = AMBER;
    context.fillRect(left, top, 3 * ratio, high);
  }
  texts.forEach((text, place) => {
    const middle = top + pad * 0.4 + step * (place + 0.5);
    context.fillStyle = LABEL_INK;
    if (tag && place === 0) context.fillText(String(number), left + pad, middle);
    if (mark) {
      context.fillStyle = MODEL_COLOURS[place];
      const at = left + pad + tag;
      context.beginPath();
      if (place === 0) context.arc(at + 4.5 * ratio, middle, 4.5 * ratio, 0, 2 * Math.PI);
      else context.rect(at + 0.5 * ratio, middle - 4 * ratio, 8 * ratio, 8 * ratio);
      context.fill();
      context.fillStyle = LABEL_INK;
    }
    context.fillText(text, left + pad + tag + mark, middle);
  });
}
