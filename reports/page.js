// What a point says, where the pointer or the focus is on it.
const tip = document.getElementById("tip");
const notes = JSON.parse(document.getElementById("notes").textContent);
const show = (text, box) => {
  tip.textContent = text;
  tip.style.display = "block";
  const left = Math.min(box.right + 8, innerWidth - tip.offsetWidth - 8);
  tip.style.left = Math.max(8, left) + "px";
  tip.style.top = Math.max(8, box.top - tip.offsetHeight - 4) + "px";
};
const hide = () => { tip.style.display = "none"; };
for (const [id, texts] of Object.entries(notes)) {
  const points = document.querySelectorAll(`[id="${id}"] :is(use, path):not(defs *)`); // a few points are paths
  points.forEach((point, number) => {
    point.setAttribute("tabindex", "0");
    point.setAttribute("aria-label", texts[number]);
    for (const event of ["pointerenter", "focus"])
      point.addEventListener(event, () => show(texts[number], point.getBoundingClientRect()));
    for (const event of ["pointerleave", "blur"]) point.addEventListener(event, hide);
  });
}
