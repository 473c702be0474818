/** The JSON of an edit: names and signed strengths, `{"Young": -0.6}`. Read and written here, kept as the user wrote it elsewhere. */

export const LARGEST = 10; // as dva_core.edit.attributes.LARGEST_SCALE

/** {values: Map name -> number or, for what is no number (a curve), anything} or {error}: the message of a text that is no such object. */
export function parse(text) {
  if (!text.trim()) return { values: new Map() };
  let found;
  try {
    found = JSON.parse(text);
  } catch (error) {
    return { error: error.message };
  }
  if (found === null || typeof found !== "object" || Array.isArray(found)) return { error: '{"Young": -0.6, "Smiling": 0.4}' };
  const values = new Map(Object.entries(found));
  const flat = [...values.values()].every((value) => typeof value === "number");
  const names = flat ? [...text.matchAll(/"((?:[^"\\]|\\.)*)"\s*:/g)].map((match) => match[1].toLowerCase()) : [];
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  return twice === undefined ? { values } : { error: `"${twice}" ×2` };
}

/** The text of these values, in their order, as Python's json writes it. */
export function format(values) {
  return `{${[...values].map(([name, value]) => `${JSON.stringify(name)}: ${JSON.stringify(value)}`).join(", ")}}`;
}

/** The key under which an attribute stands in `values`, whatever its case. */
export function keyOf(values, name) {
  return [...values.keys()].find((key) => key.toLowerCase() === name.toLowerCase());
}

/** `values` with one strength (or curve) changed; 0 takes it out. */
export function changed(values, name, scale) {
  const key = keyOf(values, name) ?? name;
  const result = new Map(values);
  if (scale) result.set(key, typeof scale === "number" ? round(scale) : scale);
  else result.delete(key);
  return result;
}

/** At most three decimals, inside what the library takes. */
export function round(scale) {
  return Math.max(-LARGEST, Math.min(LARGEST, Math.round(scale * 1000) / 1000)) + 0;
}
