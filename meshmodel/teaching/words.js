// The words of a script in its reader's language.  A message is marked by tr, as a literal in English with {} for what changes:
// Python (words.py) reads them from the script and sends the catalogue's words; what the catalogue lacks is said in English.

let spokenWords = {};

function speak(words) {
  spokenWords = words ?? {};
}

function tr(english, ...values) {
  let next = 0;
  return (spokenWords[english] ?? english).replace(/\{(\d*)\}/g, (_, number) => values[number === "" ? next++ : Number(number)]);
}
