// Changes that the user orders, shown only if the token allows them.

import { make } from "./text.js";

const LABELS = { pause: "Pause", resume: "Resume", scale: "Scale", kill: "Kill" };
const DONE = { pause: "is paused", resume: "goes on", scale: "has another size", kill: "is killed, and restarted" };

/** A second click within this time confirms a kill. */
const CONFIRM_MS = 4_000;

export class Control {
  /** `said` gets what an order has done, or why it is refused. */
  constructor(api, said) {
    this.api = api;
    this.said = said;
    this.allowed = false;
  }

  /** Shows the buttons of a node. Those that are shown already stay, and keep the focus. */
  show(place, now, scale) {
    const acts = this.allowed ? of(now) : [];
    if (place.dataset.acts === acts.join(" ")) return;
    const hadFocus = place.contains(document.activeElement);
    place.dataset.acts = acts.join(" ");
    place.replaceChildren(...acts.map((act) => this.button(act, now.name, scale)));
    if (hadFocus) place.querySelector("button")?.focus();
  }

  button(act, name, scale) {
    const button = make("button", { type: "button", "aria-label": `${LABELS[act]} ${name}` }, LABELS[act]);
    button.addEventListener("click", () => {
      if (act === "scale") scale();
      else if (act !== "kill" || button.dataset.sure) this.order(name, act);
      else {
        button.dataset.sure = "yes";
        button.textContent = "Really kill?";
        setTimeout(() => {
          delete button.dataset.sure;
          button.textContent = LABELS[act];
        }, CONFIRM_MS);
      }
    });
    return button;
  }

  async order(name, act, body = {}) {
    try {
      const path = `api/nodes/${encodeURIComponent(name)}/${act}`;
      const done = await this.api.json(path, {}, { method: "POST", body: JSON.stringify(body) });
      this.said(`${done.node} ${done.changed ? DONE[act] : "is so already"}.`);
    } catch (error) {
      this.said(error.message);
    }
  }
}

/** What can be ordered of a node. */
function of(now) {
  const acts = [];
  if (["crew", "relay", "incinerator"].includes(now.kind) || now.pile?.source) acts.push(now.held ? "resume" : "pause");
  if (now.kind === "crew") acts.push("scale");
  if (now.state !== "closed") acts.push("kill");
  return acts;
}
