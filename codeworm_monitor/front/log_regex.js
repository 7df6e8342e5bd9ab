/**
 * Regular expressions that a person writes, kept from holding up the page.
 *
 * A browser cannot stop an expression at work. So those that may take exponential time are not taken at all, and of
 * those that may take a power of the text's length the time on its beginning is looked at before the whole is tried.
 */

const SLOW = 12; // milliseconds on a part of the text from which on the whole would take too long
const TRIES = 3; // a machine that is busy makes anything slow once
const SHORTEST = 8;
const LONGER = 1.5; // each part is so much longer than the one before
const FEW = 4; // times that a group may be repeated with anything in it
const MOST_CHOICES = 15; // each may double the time

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
  const { isNested, choices } = shapeOf(source);
  if (isNested) throw new Error("the regex repeats a group that itself repeats or chooses, which can take for ever: write it without");
  if (choices > MOST_CHOICES) throw new Error("the regex has so many repeats and choices that it can take for ever: write it with fewer");
  if (choices < 2) return (text) => regex.test(text);
  return (text) => {
    for (let length = SHORTEST; length < text.length; length *= LONGER) {
      if (isSlow(regex, text.slice(0, length))) throw new SlowRegex();
    }
    return regex.test(text);
  };
}

function isSlow(regex, text) {
  for (let tried = 0; tried < TRIES; tried += 1) {
    const start = performance.now();
    regex.test(text);
    if (performance.now() - start <= SLOW) return false;
  }
  return true;
}

/** Return whether a repeated group holds repeats or choices, and how many of these there are, one after the other. */
function shapeOf(source) {
  const groups = [{ choices: 0, hasAlternatives: false }];
  let closed = 0; // choices of the group that ended just before
  let isNested = false;
  let i = 0;
  while (i < source.length) {
    const quantifier = /^(?:[*+?]|\{(\d+)(,?)(\d*)\})\??/.exec(source.slice(i, i + 24));
    if (quantifier && i > 0) {
      const [whole, least, comma, most] = quantifier;
      const end = whole[0] === "?" ? 1 : whole[0] !== "{" || (comma && !most) ? Infinity : Number(most || least);
      if (closed > 0 && end > FEW) isNested = true;
      else if (closed > 0 && end > 1) groups.at(-1).choices += closed * (end - 1);
      if (whole[0] !== "{" || comma !== "") groups.at(-1).choices += 1;
      closed = 0;
      i += whole.length;
      continue;
    }
    closed = 0;
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
      groups.push({ choices: 0, hasAlternatives: false });
      i += /^\((?:\?(?:[:=!]|<[=!]|<[^>]*>))?/.exec(source.slice(i))[0].length;
    } else if (character === ")" && groups.length > 1) {
      const group = groups.pop();
      closed = group.choices + (group.hasAlternatives ? 1 : 0);
      groups.at(-1).choices += closed;
      i += 1;
    } else {
      if (character === "|") groups.at(-1).hasAlternatives = true;
      i += 1;
    }
  }
  return { isNested, choices: groups[0].choices };
}
