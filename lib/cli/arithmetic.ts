// The demo's calculator: + - * / and parentheses over decimal numbers, read left to right with two levels of
// precedence. It computes what a person would type, and nothing else of a program's text can run.

/** Every open parenthesis and every sign is one level of recursion. */
const LONGEST = 500;

/** @throws RangeError with a message for the model: what is wrong with the expression. */
export function evaluateArithmetic(text: string): number {
  if (text.length > LONGEST) throw new RangeError("expression too long");
  const tokens = text.match(/\d+\.?\d*|\.\d+|\S/g) ?? [];
  let next = 0;

  function sum(): number {
    let value = product();
    while (tokens[next] === "+" || tokens[next] === "-") {
      value = tokens[next++] === "+" ? value + product() : value - product();
    }
    return value;
  }

  function product(): number {
    let value = factor();
    while (tokens[next] === "*" || tokens[next] === "/") {
      const isTimes = tokens[next++] === "*";
      const right = factor();
      if (!isTimes && right === 0) throw new RangeError("division by zero");
      value = isTimes ? value * right : value / right;
    }
    return value;
  }

  function factor(): number {
    const token = tokens[next++];
    if (token === "-") return -factor();
    if (token === "+") return factor();
    if (token === "(") {
      const value = sum();
      if (tokens[next++] !== ")") throw new RangeError("missing parenthesis");
      return value;
    }
    if (token === undefined || !/\d/.test(token)) throw new RangeError("invalid expression");
    return Number(token);
  }

  const value = sum();
  if (next < tokens.length) throw new RangeError("invalid expression");
  if (!Number.isFinite(value)) throw new RangeError("number too large");
  return value;
}
