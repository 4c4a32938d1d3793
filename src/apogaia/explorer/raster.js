// Draws the stars of a figure as one image of its pixels. A hundred thousand markers of their own take seconds.

const GREY_LEVEL = 140; // of flagged stars, and of those of which the colour's number is unknown
const NO_COLOUR = -1;

// Layers from below: how opaque a star is, and whether it has its colour.
const LAYERS = [
  { opacity: 0.08, coloured: false }, // not selected, while others are
  { opacity: 0.35, coloured: false }, // flagged
  { opacity: 0.75, coloured: true },
  { opacity: 0.7, coloured: false }, // flagged and selected
  { opacity: 0.95, coloured: true }, // selected
];
const HIDDEN = -1;

class Layers {
  // `bad` (n,) is 1 for flagged stars.
  constructor(bad) {
    this.bad = bad;
    this.layer = new Int8Array(bad.length);
    this.order = new Uint32Array(0);
  }

  update(selected, showFlagged) {
    const { bad, layer } = this;
    const counts = new Uint32Array(LAYERS.length);
    for (let i = 0; i < layer.length; i++) {
      if (bad[i] && !showFlagged) layer[i] = HIDDEN;
      else if (selected.size === 0) layer[i] = bad[i] ? 1 : 2;
      else if (selected.mask[i]) layer[i] = bad[i] ? 3 : 4;
      else layer[i] = 0;
      if (layer[i] !== HIDDEN) counts[layer[i]]++;
    }
    const next = new Uint32Array(LAYERS.length);
    for (let k = 1; k < LAYERS.length; k++) next[k] = next[k - 1] + counts[k - 1];
    this.order = new Uint32Array(next[LAYERS.length - 1] + counts[LAYERS.length - 1]);
    for (let i = 0; i < layer.length; i++) {
      if (layer[i] !== HIDDEN) this.order[next[layer[i]]++] = i;
    }
  }
}

// Places of a disc's pixels around its centre, with the share of each that it covers.
function disc(diameter) {
  const reach = Math.ceil(diameter / 2);
  const pixels = [];
  for (let dy = -reach; dy <= reach; dy++) {
    for (let dx = -reach; dx <= reach; dx++) {
      const cover = Math.min(1, Math.max(0, diameter / 2 + 0.5 - Math.hypot(dx, dy)));
      if (cover > 0) pixels.push({ dx, dy, cover });
    }
  }
  return { reach, pixels };
}

function diameterFor(n) {
  return n > 30000 ? 2.4 : n > 6000 ? 3 : n > 1000 ? 4.5 : 6.5;
}

class Raster {
  // `colours` has `index` (n,), the place in `palette` of each star, or NO_COLOUR; `palette` is 3 bytes a colour.
  constructor(figure, source, xs, ys, layers, colours) {
    Object.assign(this, { figure, source, xs, ys, layers, colours });
    this.Image = source.data.image[0].constructor;
    this.waiting = false;
  }

  // At most once a frame, however many things have changed.
  redraw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.draw();
    });
  }

  draw() {
    const { x_range, y_range, inner_width, inner_height } = this.figure;
    if (!(inner_width > 0 && inner_height > 0)) return;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [Math.round(inner_width * ratio), Math.round(inner_height * ratio)];
    const [left, right] = [Math.min(x_range.start, x_range.end), Math.max(x_range.start, x_range.end)];
    const [low, high] = [Math.min(y_range.start, y_range.end), Math.max(y_range.start, y_range.end)];
    const image = this.paint(width, height, [left, right], [low, high], ratio);
    this.source.data = { image: [image], x: [left], y: [low], dw: [right - left], dh: [high - low] };
  }

  // Rows of the image are counted upwards, as Bokeh does.
  paint(width, height, [left, right], [low, high], ratio) {
    const { xs, ys, layers: { order, layer }, colours: { index, palette } } = this;
    const [scaleX, scaleY] = [width / (right - left), height / (high - low)];
    let visible = 0;
    for (let k = 0; k < order.length; k++) {
      const i = order[k];
      if (xs[i] > left && xs[i] < right && ys[i] > low && ys[i] < high) visible++;
    }
    const { reach, pixels } = disc(diameterFor(visible) * ratio);
    const bytes = new Uint8ClampedArray(4 * width * height);
    for (let k = 0; k < order.length; k++) { // plain loops: this is where the time goes
      const i = order[k];
      const column = Math.floor((xs[i] - left) * scaleX);
      const row = Math.floor((ys[i] - low) * scaleY);
      if (!(column >= -reach && column < width + reach && row >= -reach && row < height + reach)) continue;
      const { opacity, coloured } = LAYERS[layer[i]];
      const place = coloured ? 3 * index[i] : NO_COLOUR;
      const red = place < 0 ? GREY_LEVEL : palette[place];
      const green = place < 0 ? GREY_LEVEL : palette[place + 1];
      const blue = place < 0 ? GREY_LEVEL : palette[place + 2];
      for (let p = 0; p < pixels.length; p++) {
        const { dx, dy, cover } = pixels[p];
        const c = column + dx;
        const r = row + dy;
        if (c < 0 || c >= width || r < 0 || r >= height) continue;
        const at = 4 * (r * width + c);
        const above = cover * opacity;
        const below = (bytes[at + 3] / 255) * (1 - above);
        const share = above / (above + below);
        bytes[at] += (red - bytes[at]) * share;
        bytes[at + 1] += (green - bytes[at + 1]) * share;
        bytes[at + 2] += (blue - bytes[at + 2]) * share;
        bytes[at + 3] = 255 * (above + below);
      }
    }
    return new this.Image(bytes.buffer, [height, width]);
  }
}

// Stars inside a box or a lasso, of those that are drawn.
function inside(geometry, xs, ys, layers) {
  const found = [];
  const contains = geometry.type === "rect" ? boxTest(geometry) : polygonTest(geometry);
  for (let i = 0; i < xs.length; i++) {
    if (layers.layer[i] !== HIDDEN && contains(xs[i], ys[i])) found.push(i);
  }
  return found;
}

function boxTest({ x0, x1, y0, y1 }) {
  const [left, right, low, high] = [Math.min(x0, x1), Math.max(x0, x1), Math.min(y0, y1), Math.max(y0, y1)];
  return (x, y) => x >= left && x <= right && y >= low && y <= high;
}

function polygonTest({ x: px, y: py }) {
  const [corners, count] = [Array.from(px, (x, k) => [x, py[k]]), px.length];
  const [left, right] = [Math.min(...px), Math.max(...px)];
  return (x, y) => {
    if (!(x >= left && x <= right)) return false;
    let odd = false;
    for (let k = 0, before = count - 1; k < count; before = k++) {
      const [ax, ay] = corners[k];
      const [bx, by] = corners[before];
      if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) odd = !odd;
    }
    return odd;
  };
}
