const view = document.getElementById("view");
const picture = view.querySelector("img");
const label = view.querySelector("span");
const pairs = [...document.querySelectorAll(".pair")];
let at = 0;
let masks = true;

function show() {
  const images = pairs[at].querySelectorAll("img");
  picture.src = images[masks ? 1 : 0].src;
  picture.alt = images[masks ? 1 : 0].alt;
  label.textContent = `${at + 1} / ${pairs.length} · ${pairs[at].querySelector("h3").textContent}`;
  view.querySelector("[data-do=toggle]").textContent = masks ? "Hide masks" : "Show masks";
}
const actions = {
  toggle: () => { masks = !masks; },
  next: () => { at = (at + 1) % pairs.length; },
  back: () => { at = (at + pairs.length - 1) % pairs.length; },
};
function act(name) {
  if (name === "close") { view.close(); return; }
  actions[name]();
  show();
}
pairs.forEach((pair, index) => pair.querySelector("button").addEventListener("click", () => {
  at = index;
  masks = true;
  show();
  view.showModal();
}));
picture.addEventListener("click", () => act("toggle"));
view.querySelectorAll("[data-do]").forEach((button) => button.addEventListener("click", () => act(button.dataset.do)));
view.addEventListener("keydown", (event) => {
  const name = { ArrowRight: "next", ArrowLeft: "back", " ": "toggle", m: "toggle" }[event.key];
  if (!name) return;
  event.preventDefault();
  act(name);
});
