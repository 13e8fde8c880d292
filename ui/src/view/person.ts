/** Who looks at the page, as they call themselves: it is said with what they ask and answer. */

const KEY = "runcast.person";
/** A longer name is cut. */
export const NAME_CHARS_MAX = 64;

export function personName(): string {
  try {
    return localStorage.getItem(KEY) ?? "";
  } catch {
    // The browser keeps nothing for this page.
    return "";
  }
}

export function rememberPerson(name: string): void {
  try {
    localStorage.setItem(KEY, name.trim().slice(0, NAME_CHARS_MAX));
  } catch {
    // Then it is asked for again.
  }
}

/** As a part of what is sent. */
export function signature(): { readonly by?: string } {
  const by = personName();
  return by === "" ? {} : { by };
}

/** A key that nobody else takes; also where the page is not a secure context. */
export function freshKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
