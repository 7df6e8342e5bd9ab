/**
 * Regular expressions that a person writes, kept from holding up the page.
 *
 * A browser cannot stop an expression at work. So those that may take exponential time, or a high power of the text's
 * length, are not taken at all, and of those that may take a lower power the time on parts of the text, from all over it
 * and longer and longer, is looked at before the whole is tried.
 */

const SLOW = 12; // milliseconds on a part of the text from which on the whole would take too long
const TRIES = 3; // a machine that is busy makes anything slow once
const SHORTEST = 64; // characters on which a few repeats cannot take long,
const SHORTEST_OF_MANY = 8; // and on which many cannot
const MANY = 4;
const LONGER = 1.5; // each part is so much longer than the one before
const FEW = 4; // times that a group may be repeated with anything in it
const MOST_CHOICES = 15; // each may double the time
const MOST_UNBOUNDED = 3; // each may multiply the time by the text's length
const FAR = 64; // times: repeats that may differ by more count as unbounded
const QUANTIFIER = /(?:[*+?]|\{(\d+)(,?)(\d*)\})\??/y;
const OPENING = /\((?:\?(?:[:=!]|<[=!]|<[^>]*>))?/y;

/** An expression took too long on a row. */
export class SlowRegex extends Error {}

/**
 * Read an expression.
 * @param {string} source
 * @returns {(text: string) => boolean} Throws `SlowRegex`.
 * @throws {Error} It cannot be read; says why.
 */
export function compileRegex(source) {
  let regex;
  try {
    regex = new RegExp(source, "i");
  } catch (error) {
    const reason = String(error.message).replace(/^Invalid regular expression: /, "").replace(/^.*\/\w*: /s, "");
    throw new Error(`the regex cannot be read: ${reason.slice(0, 200)}`);
  }
  const { isNested, choices, unbounded } = shapeOf(source);
  if (isNested) throw new Error("the regex repeats a group that itself repeats or chooses, which can take for ever: write it without");
  if (choices > MOST_CHOICES || unbounded > MOST_UNBOUNDED) throw new Error("the regex has so many repeats and choices that it can take for ever: write it with fewer");
  if (choices < 2) return (text) => regex.test(text);
  const shortest = choices > MANY ? SHORTEST_OF_MANY : SHORTEST;
  return (text) => {
    for (const part of partsOf(text, shortest)) if (isSlow(regex, part)) throw new SlowRegex();
    return regex.test(text);
  };
}

/** What is dear may stand anywhere: all of the text is in parts of one length, half over each other, before longer ones. */
function* partsOf(text, shortest) {
  for (let length = shortest; length < text.length; length = Math.floor(length * LONGER)) {
    const half = length >> 1;
    for (let start = 0; start < text.length - half; start += half) yield text.slice(start, start + length);
  }
}

function isSlow(regex, text) {
  for (let tried = 0; tried < TRIES; tried += 1) {
    const start = performance.now();
    regex.test(text);
    if (performance.now() - start <= SLOW) return false;
  }
  return true;
}

/**
 * Return whether a repeated group holds repeats or choices, how many of these there are, one after the other, and how
 * many repeats without a bound there are in one alternative.
 */
function shapeOf(source) {
  const opened = () => ({ choices: 0, hasAlternatives: false, unbounded: 0, mostUnbounded: 0 });
  const groups = [opened()];
  let closed = 0; // choices of the group that ended just before
  let closedUnbounded = 0;
  let isNested = false;
  let i = 0;
  while (i < source.length) {
    const quantifier = sticky(QUANTIFIER, source, i);
    if (quantifier && i > 0) {
      const [whole, least, comma, most] = quantifier;
      const end = whole[0] === "?" ? 1 : whole[0] !== "{" || (comma && !most) ? Infinity : Number(most || least);
      if (closed > 0 && end > FEW) isNested = true;
      else if (closed > 0 && end > 1) groups.at(-1).choices += closed * (end - 1);
      if (whole[0] !== "{" || comma !== "") groups.at(-1).choices += 1;
      const isFar = end === Infinity || (comma !== "" && end - Number(least) > FAR);
      groups.at(-1).unbounded += (isFar ? 1 : 0) + (end <= FEW ? closedUnbounded * Math.max(0, end - 1) : 0);
      closed = closedUnbounded = 0;
      i += whole.length;
      continue;
    }
    closed = closedUnbounded = 0;
    const character = source[i];
    if (character === "\\") {
      // What a group has taken, taken again, can take as many ways.
      if (/[1-9k]/.test(source[i + 1] ?? "")) groups.at(-1).choices += 1;
      i += 2;
    } else if (character === "[") {
      i += 1;
      while (i < source.length && source[i] !== "]") i += source[i] === "\\" ? 2 : 1;
      i += 1;
    } else if (character === "(") {
      groups.push(opened());
      i += sticky(OPENING, source, i)[0].length;
    } else if (character === ")" && groups.length > 1) {
      const group = groups.pop();
      closed = group.choices + (group.hasAlternatives ? 1 : 0);
      groups.at(-1).choices += closed;
      closedUnbounded = Math.max(group.mostUnbounded, group.unbounded);
      groups.at(-1).unbounded += closedUnbounded;
      i += 1;
    } else {
      if (character === "|") {
        const group = groups.at(-1);
        group.hasAlternatives = true;
        group.mostUnbounded = Math.max(group.mostUnbounded, group.unbounded);
        group.unbounded = 0;
      }
      i += 1;
    }
  }
  const [whole] = groups;
  return { isNested, choices: whole.choices, unbounded: Math.max(whole.mostUnbounded, whole.unbounded) };
}

function sticky(regex, text, place) {
  regex.lastIndex = place;
  return regex.exec(text);
}
