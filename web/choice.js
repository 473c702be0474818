/** The JSON text of a choice of people, read leniently and written anew: {people: numbers or null (everyone), names, shots, survey}. */

const EVERYONE = "all";
const EVERYBODY = [EVERYONE, "everyone"]; // as words of a user
const MOST_SEEN = [1];
const NAME = 60; // longest

/** {choice, error}: what the text says; of an empty one the default, with `untouched`. */
export function readChoice(json) {
  if (!json?.trim()) return { choice: { people: MOST_SEEN, names: {}, shots: {}, survey: "", untouched: true } };
  try {
    const value = JSON.parse(json);
    if (value === null || typeof value !== "object" || Array.isArray(value)) return { error: json.trim().slice(0, 40) };
    const shots = Object.fromEntries(Object.entries(value.shots ?? {}).map(([shot, people]) => [Number(shot), numbers(people)]));
    return { choice: { people: numbers(value.people ?? MOST_SEEN), names: { ...value.names }, shots, survey: value.survey ?? "" } };
  } catch (error) {
    return { error: error.message };
  }
}

/** The same of a text that may also be plain: "all", or numbers with commas between. */
export function readPeople(text) {
  const plain = text.trim().toLowerCase();
  if (EVERYBODY.includes(plain)) return { choice: { people: null, names: {}, shots: {}, survey: "" } };
  return readChoice(/^\d+(\s*,\s*\d+)*$/.test(plain) ? JSON.stringify({ people: plain.split(",").map(Number) }) : text);
}

export function writeChoice({ people, names, shots, survey }) {
  const value = { people: people ?? EVERYONE };
  if (Object.keys(names).length) value.names = names;
  if (Object.keys(shots).length) value.shots = Object.fromEntries(Object.entries(shots).map(([shot, there]) => [shot, there ?? EVERYONE]));
  if (survey) value.survey = survey;
  return JSON.stringify(value);
}

/** Who is meant in a shot: a list of numbers, out of all `count`. */
export function meantIn({ people, shots }, shot, count) {
  return (shot in shots ? shots[shot] : people) ?? Array.from({ length: count }, (_, index) => index + 1);
}

/** The choice with one person put in or taken out, in all shots or in one. */
export function toggle(choice, number, count, shot = null) {
  const before = choice.untouched && shot === null ? [] : shot === null ? meantIn({ ...choice, shots: {} }, 0, count) : meantIn(choice, shot, count);
  const after = before.includes(number) ? before.filter((one) => one !== number) : [...before, number].sort((a, b) => a - b);
  const { untouched, ...rest } = choice;
  return shot === null ? { ...rest, people: after } : { ...rest, shots: { ...choice.shots, [shot]: after } };
}

/** The choice with a person called `name`, or by the number only where that is empty. */
export function rename(choice, number, name) {
  const names = { ...choice.names };
  delete names[number];
  if (name) names[number] = name;
  const { untouched, ...rest } = choice;
  return { ...rest, names };
}

/** Whether a person may be called so: by the rules of the server (faces/choice.py). */
export function mayBeCalled(choice, number, name) {
  const others = Object.entries(choice.names).filter(([other]) => Number(other) !== number);
  const taken = [...EVERYBODY, ...others.map(([, other]) => String(other).toLowerCase())];
  return name.length <= NAME && !name.includes(",") && !/^\d+$/.test(name) && !taken.includes(name.toLowerCase());
}

function numbers(people) {
  if (people === EVERYONE) return null;
  if (!Array.isArray(people)) throw new Error(JSON.stringify(people));
  return [...new Set(people.map(Number))];
}
