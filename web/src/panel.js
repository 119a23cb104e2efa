// The panel beside the picture: play, splats or mesh, views, and one slider for every control the file describes.
export function buildPanel(root, viewer) {
  const make = (tag, text, parent = root) => {
    const element = document.createElement(tag);
    if (text) element.textContent = text;
    parent.append(element);
    return element;
  };
  make("h1", viewer.avatar.name || "Avatar");
  const count = viewer.avatar.splats?.opacities.length ?? 0;
  make("p", `${count.toLocaleString("en")} splats, ${viewer.frames} frames`).className = "facts";

  const row = make("div");
  row.className = "row";
  const button = (id, text, act) => {
    const element = make("button", text, row);
    element.id = id;
    element.type = "button";
    element.onclick = act;
    return element;
  };
  if (viewer.frames > 1) {
    const play = button("play", "Pause", () => {
      viewer.playing = !viewer.playing;
      play.textContent = viewer.playing ? "Pause" : "Play";
    });
  }
  if (viewer.splats && viewer.proxy) {
    const swap = button("swap", "Show mesh", () => {
      viewer.show(viewer.shown === "splats" ? "mesh" : "splats");
      swap.textContent = viewer.shown === "splats" ? "Show mesh" : "Show splats";
    });
  }
  button("body", "Body", () => viewer.frameAll());
  button("head", "Face", () => viewer.frameHead());
  const sliders = new Map();
  button("reset", "Reset", () => {
    for (const [name, slider] of sliders) {
      slider.value = 0;
      viewer.setControls({ [name]: 0 });
    }
  });

  const groups = new Map();
  for (const control of viewer.avatar.controls) {
    if (!groups.has(control.group)) groups.set(control.group, []);
    groups.get(control.group).push(control);
  }
  for (const [name, controls] of groups) {
    const group = make("details");
    group.open = name === "Fingers" || name === "Jaw and Tongue" || name === "Mouth";
    make("summary", name, group);
    for (const control of controls) {
      const label = make("label", "", group);
      make("span", control.label, label);
      const slider = make("input", "", label);
      Object.assign(slider, { type: "range", min: control.min, max: control.max, step: 0.01, value: control.value });
      slider.dataset.control = control.name;
      slider.oninput = () => viewer.setControls({ [control.name]: Number(slider.value) });
      sliders.set(control.name, slider);
    }
  }
}
