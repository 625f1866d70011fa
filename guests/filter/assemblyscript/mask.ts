// Contract 3 in AssemblyScript: the column `email` of both images becomes "***". Events come in canonical form, so the text can be
// searched: the images stand in front of "op", and members of a row one level below them.

/** Where the value that begins at `at` ends. */
function valueEnd(text: string, at: i32): i32 {
  let depth = 0;
  while (at < text.length) {
    const c = text.charCodeAt(at);
    if (c == 34) {
      for (at++; text.charCodeAt(at) != 34; at++) if (text.charCodeAt(at) == 92) at++;
    } else if (c == 123 || c == 91) {
      depth++;
    } else if (c == 125 || c == 93) {
      if (depth == 0) return at;
      depth--;
    } else if (c == 44 && depth == 0) {
      return at;
    }
    at++;
  }
  return at;
}

/** The image that begins at `at`, masked. */
function imageMask(text: string, at: i32, end: i32): string {
  if (text.charCodeAt(at) != 123) return text.substring(at, end);
  let out = "{";
  for (at++; at < end - 1; ) {
    const name = valueEnd(text, at);
    const colon = text.indexOf('":', at) + 1;
    const value = text.substring(colon + 1, name);
    out += text.substring(at, colon + 1);
    out += text.substring(at, colon) == '"email"' && value != "null" ? '"***"' : value;
    at = name;
    if (text.charCodeAt(at) == 44) {
      out += ",";
      at++;
    }
  }
  return out + "}";
}

/** null: the event is dropped, as every one of the table `dropped` is. */
export function mask(event: string): string | null {
  if (event.includes(',"table":"dropped",')) return null;
  const before = '{"before":'.length;
  const beforeEnd = valueEnd(event, before);
  const after = beforeEnd + ',"after":'.length;
  const afterEnd = valueEnd(event, after);
  return (
    event.substring(0, before) +
    imageMask(event, before, beforeEnd) +
    event.substring(beforeEnd, after) +
    imageMask(event, after, afterEnd) +
    event.substring(afterEnd)
  );
}
