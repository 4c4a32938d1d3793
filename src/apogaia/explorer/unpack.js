// Reads what apogaia.explorer.packing wrote into the page's script elements.

const NO_PIXEL = -32768;

async function inflate(text) {
  const packed = atob(text);
  const bytes = new Uint8Array(packed.length);
  for (let i = 0; i < packed.length; i++) bytes[i] = packed.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// All first bytes of the numbers come first, then all second ones, and so on.
function joinBytes(planes, width) {
  const n = planes.length / width;
  const bytes = new Uint8Array(planes.length);
  for (let plane = 0; plane < width; plane++) {
    for (let i = 0, from = plane * n; i < n; i++) bytes[i * width + plane] = planes[from + i];
  }
  return bytes.buffer;
}

function packedText(id) {
  return document.getElementById(`data-${id}`).textContent;
}

async function unpackFloats(id) {
  return new Float32Array(joinBytes(await inflate(packedText(id)), 4));
}

async function unpackIntegers(id) {
  return new Int32Array(joinBytes(await inflate(packedText(id)), 4));
}

async function unpackTexts(id) {
  return new TextDecoder().decode(await inflate(packedText(id))).split("\n");
}

async function unpackSpectrum(id, fluxStep, sensitivityStep) {
  const steps = new Int16Array(joinBytes(await inflate(packedText(id)), 2));
  const real = (part, step) => Float64Array.from(part, value => (value === NO_PIXEL ? NaN : value * step));
  const pixels = sensitivityStep > 0 ? steps.length / 2 : steps.length;
  return {
    flux: real(steps.subarray(0, pixels), fluxStep),
    sensitivity: sensitivityStep > 0 ? real(steps.subarray(pixels), sensitivityStep) : null,
  };
}
