// How the demo asks the program on this computer about a picture, and about nothing else.

export class Refusal extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

export const wait = (milliseconds) => new Promise((resolve) => { window.setTimeout(resolve, milliseconds); });

const token = document.querySelector("meta[name=fersearch-token]").content;

/** Ask about a picture; `begun` is when its round trip began. */
export async function ask(picture, { whole, cam, begun = performance.now(), preview = false }) {
  const query = new URLSearchParams({ faces: whole ? "whole" : "found", cam: Number(cam), preview: Number(preview) });
  let response;
  try {
    response = await fetch(`/classify?${query}`, {
      method: "POST",
      headers: { "Content-Type": "application/octet-stream", "X-Fersearch-Token": token },
      body: picture,
      cache: "no-store",
      signal: AbortSignal.timeout(60000),
    });
  } catch {
    throw new Refusal("The program does not answer: was fersearch demo stopped?", 0);
  }
  const answer = await response.json().catch(() => null);
  if (!response.ok || !answer) {
    throw new Refusal(answer?.error || `The program answered with status ${response.status}.`, response.status);
  }
  answer.milliseconds.round_trip = performance.now() - begun;
  return answer;
}
