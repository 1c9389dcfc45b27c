"use strict";
// Shows the values under the pointer. The numbers lie beside each drawing as JSON (readout.rs).
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const tip = document.body.appendChild(document.createElement("div"));
  tip.className = "tip";
  tip.hidden = true;

  const place = {
    log: Math.log10,
    percentile: (v) => -Math.log10(1 - v),
  };
  const position = (axis, value) => (place[axis.scale] || Number)(value);
  const share = (axis, value) => (position(axis, value) - axis.lo) / (axis.hi - axis.lo);

  function text(value, scale) {
    if (scale === "share") return (value * 100).toFixed(1) + " %";
    if (scale === "percentile") return +(value * 100).toPrecision(value < 0.99 ? 3 : 6) + " %";
    const size = Math.abs(value);
    if (size >= 1e6) return (value / 1e6).toPrecision(4) + "M";
    if (size >= 1e4) return (value / 1e3).toPrecision(4) + "k";
    return size !== 0 && size < 1e-3 ? value.toExponential(2) : String(+value.toPrecision(4));
  }

  // The point nearest to a position; xs ascend.
  function nearest(xs, axis, at) {
    let [lo, hi] = [0, xs.length - 1];
    while (hi - lo > 1) {
      const middle = (lo + hi) >> 1;
      if (position(axis, xs[middle]) < at) lo = middle; else hi = middle;
    }
    return at - position(axis, xs[lo]) < position(axis, xs[hi]) - at ? lo : hi;
  }

  function reading(layer, i, scale) {
    if (layer.kind === "area") return text(layer.y2[i] - layer.y[i], scale);
    const value = text(layer.y[i], scale);
    return layer.kind === "band" ? value + " to " + text(layer.y2[i], scale) : value;
  }

  function element(parent, name, attributes) {
    const made = parent.appendChild(document.createElementNS(SVG, name));
    for (const key in attributes) made.setAttribute(key, attributes[key]);
    return made;
  }

  function row(name, value, colour) {
    const line = tip.appendChild(document.createElement("div"));
    const swatch = line.appendChild(document.createElement("i"));
    if (colour) swatch.style.background = "var(--" + colour + ")";
    line.appendChild(document.createElement("span")).textContent = name;
    line.appendChild(document.createElement("b")).textContent = value;
  }

  function show(view, data, event) {
    const svg = view.querySelector("svg");
    const frame = svg.getBoundingClientRect();
    const { left, right } = data.panels[0].area;
    const px = (event.clientX - frame.left) * svg.viewBox.baseVal.width / frame.width;
    const at = data.x.lo + (px - left) / (right - left) * (data.x.hi - data.x.lo);
    const found = [];
    for (const panel of data.panels) for (const layer of panel.layers) {
      if (layer.x.length) found.push([panel, layer, nearest(layer.x, data.x, at)]);
    }
    if (!found.length) return;
    const far = ([, layer, i]) => Math.abs(position(data.x, layer.x[i]) - at);
    const best = found.reduce((a, b) => (far(b) < far(a) ? b : a));
    const x = best[1].x[best[2]];
    const pixel = left + share(data.x, x) * (right - left);
    hide(view);
    const marks = element(svg, "g", { class: "marks" });
    tip.replaceChildren();
    row(data.x.name, text(x, data.x.scale));
    for (const panel of data.panels) {
      const { top, bottom } = panel.area;
      element(marks, "line", { x1: pixel, x2: pixel, y1: top, y2: bottom });
      for (const [of, layer, i] of found) {
        // Stacked heights belong together only where they begin and end together.
        if (of !== panel || (layer.kind === "area" && layer.x[i] !== x)) continue;
        row(layer.name, reading(layer, i, panel.y.scale), layer.colour);
        if (layer.kind !== "line") continue;
        const cx = left + share(data.x, layer.x[i]) * (right - left);
        const cy = bottom - share(panel.y, layer.y[i]) * (bottom - top);
        if (isFinite(cy)) element(marks, "circle", { cx, cy, r: 7, style: "fill:var(--" + layer.colour + ")" });
      }
    }
    tip.hidden = false;
    const side = event.clientX + 24 + tip.offsetWidth > innerWidth ? -tip.offsetWidth - 16 : 16;
    tip.style.left = Math.max(4, event.clientX + side) + scrollX + "px";
    tip.style.top = event.clientY + 16 + scrollY + "px";
  }

  function hide(view) {
    view.querySelectorAll(".marks").forEach((marks) => marks.remove());
    tip.hidden = true;
  }

  for (const view of document.querySelectorAll(".view")) {
    const data = JSON.parse(view.querySelector("script").textContent);
    view.dataset.points = data.panels.flatMap((p) => p.layers).reduce((n, layer) => n + layer.x.length, 0);
    view.addEventListener("pointermove", (event) => show(view, data, event));
    view.addEventListener("pointerleave", () => hide(view));
  }
})();
