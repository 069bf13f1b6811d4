// Text of a file in an error message: one line of printable ASCII, which no terminal takes for commands.

export function printable(text: string): string {
  return text.replace(/\s+/g, " ").replace(/[^\x20-\x7e]/g, escaped);
}

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
