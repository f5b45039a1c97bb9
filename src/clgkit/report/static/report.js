"use strict";
(function () {
  const $ = (selector, root) => (root || document).querySelector(selector);
  const $$ = (selector, root) => Array.from((root || document).querySelectorAll(selector));

  // Before and after: the range input moves the line.
  document.addEventListener("input", (event) => {
    const target = event.target;
    if (target.matches(".stack input[type=range]")) {
      target.closest(".stack").style.setProperty("--at", target.value + "%");
    } else if (target.matches("[data-toggle]")) {
      const figure = target.closest("figure, .stage");
      $$("." + target.dataset.toggle, figure).forEach((layer) => { layer.hidden = !target.checked; });
    }
  });

  // Figures open large.
  const large = $("#large");
  const stage = $(".stage", large);
  function enlarge(figure) {
    const shown = $("svg.plot, .compare, .stack", figure);
    const copy = shown.cloneNode(true);
    const frame = copy.matches(".stack") ? copy : $(".stack", copy);
    if (frame) {
      const sides = frame.style.aspectRatio.split("/").map(Number);
      copy.style.setProperty("--ratio", sides[0] / (sides[1] || sides[0]));
    }
    stage.replaceChildren(copy);
    large.showModal();
  }
  $$("figure").forEach((figure) => {
    if (!$("svg.plot, .stack", figure)) { return; }
    const button = document.createElement("button");
    button.type = "button";
    button.className = "zoom";
    button.textContent = "⤢";
    button.setAttribute("aria-label", "Enlarge this figure");
    button.addEventListener("click", () => enlarge(figure));
    figure.append(button);
    const picture = $("svg.plot, :scope > .stack", figure);
    if (picture && !$(".compare", figure)) {
      picture.style.cursor = "zoom-in";
      picture.addEventListener("click", () => enlarge(figure));
    }
  });
  large.addEventListener("click", (event) => {
    if (event.target === large || event.target === stage || event.target.matches(".close")) { large.close(); }
  });
  large.addEventListener("close", () => stage.replaceChildren());

  // The contents follow the reader.
  const links = new Map($$("nav li a").map((link) => [link.hash.slice(1), link]));
  const sections = $$("main > section");
  function follow() {
    const line = window.innerHeight * 0.3;
    let here = null;
    sections.forEach((section) => { if (section.getBoundingClientRect().top <= line) { here = section.id; } });
    links.forEach((link, id) => { link.classList.toggle("here", id === here); });
  }
  document.addEventListener("scroll", follow, { passive: true });
  follow();

  // Traces to browse through.
  const source = $("#trace-data");
  if (source) { traces(JSON.parse(source.textContent)); }

  function traces(data) {
    const canvas = $("#trace-canvas");
    const choice = $("#trace-choice");
    const readout = $("#trace-value");
    const context = canvas.getContext("2d");
    const margin = { left: 52, right: 12, top: 10, bottom: 34 };
    const everything = [0, Math.max(data.points - 1, 1)];
    let seen = everything.slice();
    let hover = null;
    let grabbed = null;
    let shown = null;

    data.neurons.forEach((neuron, index) => {
      const option = document.createElement("option");
      option.value = index;
      option.textContent = neuron.label;
      choice.append(option);
    });

    function unpack(packed) {
      const bytes = atob(packed.values);
      const made = new Float32Array(bytes.length / 2);
      for (let i = 0; i < made.length; i += 1) {
        const step = (bytes.charCodeAt(2 * i) | (bytes.charCodeAt(2 * i + 1) << 8)) << 16 >> 16;
        made[i] = step === -32768 ? NaN : packed.low + step * packed.step;
      }
      return made;
    }
    function choose(index) {
      const neuron = data.neurons[index];
      shown = { dff: unpack(neuron.dff), denoised: unpack(neuron.denoised) };
      draw();
    }
    const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

    function limits() {
      let low = Infinity;
      let high = -Infinity;
      [shown.dff, shown.denoised].forEach((line) => {
        for (let i = Math.floor(seen[0]); i <= Math.ceil(seen[1]) && i < line.length; i += 1) {
          if (line[i] < low) { low = line[i]; }
          if (line[i] > high) { high = line[i]; }
        }
      });
      if (!(high > low)) { low = (isFinite(low) ? low : 0) - 0.5; high = low + 1; }
      const pad = 0.05 * (high - low);
      return [low - pad, high + pad];
    }
    function ticks(low, high, wanted) {
      const rough = (high - low) / wanted;
      const power = Math.pow(10, Math.floor(Math.log10(rough)));
      const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
      const made = [];
      for (let k = Math.ceil(low / step); k * step <= high; k += 1) { made.push(Number((k * step).toPrecision(8))); }
      return made;
    }

    function draw() {
      const scale = window.devicePixelRatio || 1;
      const width = canvas.clientWidth;
      const height = canvas.clientHeight;
      if (!shown || width === 0) { return; }
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
      context.setTransform(scale, 0, 0, scale, 0, 0);
      context.clearRect(0, 0, width, height);
      context.font = "11px system-ui, sans-serif";
      const range = limits();
      const right = width - margin.right;
      const bottom = height - margin.bottom;
      const x = (i) => margin.left + (i - seen[0]) / (seen[1] - seen[0]) * (right - margin.left);
      const y = (v) => bottom - (v - range[0]) / (range[1] - range[0]) * (bottom - margin.top);
      context.lineWidth = 1;
      context.textAlign = "right";
      context.textBaseline = "middle";
      ticks(range[0], range[1], 5).forEach((v) => {
        context.strokeStyle = colour("--line");
        context.beginPath(); context.moveTo(margin.left, y(v)); context.lineTo(right, y(v)); context.stroke();
        context.fillStyle = colour("--muted");
        context.fillText(String(v).replace("-", "−"), margin.left - 6, y(v));
      });
      context.textAlign = "center";
      context.textBaseline = "top";
      ticks(seen[0] * data.step_s, seen[1] * data.step_s, 8).forEach((t) => {
        context.fillText(String(t), x(t / data.step_s), bottom + 6);
      });
      context.fillText("time [s]", (margin.left + right) / 2, bottom + 20);
      context.save();
      context.translate(11, (margin.top + bottom) / 2);
      context.rotate(-Math.PI / 2);
      context.fillText("dF/F", 0, -6);
      context.restore();
      context.save();
      context.beginPath(); context.rect(margin.left, 0, right - margin.left, bottom + 1); context.clip();
      line(shown.dff, colour("--muted"), 1, x, y);
      line(shown.denoised, colour("--blue"), 1.6, x, y);
      if (grabbed !== null && hover !== null) {
        context.fillStyle = colour("--accent");
        context.globalAlpha = 0.15;
        context.fillRect(x(Math.min(grabbed, hover)), 0, Math.abs(x(hover) - x(grabbed)), bottom);
        context.globalAlpha = 1;
      }
      if (hover !== null) {
        context.strokeStyle = colour("--muted");
        context.beginPath(); context.moveTo(x(hover), margin.top); context.lineTo(x(hover), bottom); context.stroke();
      }
      context.restore();
    }
    function line(values, stroke, thick, x, y) {
      context.strokeStyle = stroke;
      context.lineWidth = thick;
      context.lineJoin = "round";
      context.beginPath();
      let pen = false;
      const last = Math.min(values.length - 1, Math.ceil(seen[1]));
      for (let i = Math.max(0, Math.floor(seen[0])); i <= last; i += 1) {
        if (isNaN(values[i])) { pen = false; continue; }
        if (pen) { context.lineTo(x(i), y(values[i])); } else { context.moveTo(x(i), y(values[i])); pen = true; }
      }
      context.stroke();
    }

    function at(event) {
      const box = canvas.getBoundingClientRect();
      const share = (event.clientX - box.left - margin.left) / (box.width - margin.left - margin.right);
      const index = Math.round(seen[0] + share * (seen[1] - seen[0]));
      return Math.min(Math.max(index, Math.ceil(seen[0])), Math.floor(seen[1]));
    }
    const text = (value) => (value === undefined || isNaN(value) ? "–" : value.toFixed(3).replace("-", "−"));
    canvas.addEventListener("pointermove", (event) => {
      hover = at(event);
      readout.textContent = (hover * data.step_s).toFixed(1) + " s   dF/F " + text(shown.dff[hover])
        + "   denoised " + text(shown.denoised[hover]);
      draw();
    });
    canvas.addEventListener("pointerleave", () => { hover = null; grabbed = null; readout.textContent = ""; draw(); });
    canvas.addEventListener("pointerdown", (event) => { grabbed = at(event); });
    canvas.addEventListener("pointerup", (event) => {
      const end = at(event);
      if (grabbed !== null && Math.abs(end - grabbed) >= 3) { seen = [Math.min(grabbed, end), Math.max(grabbed, end)]; }
      grabbed = null;
      draw();
    });
    canvas.addEventListener("dblclick", () => { seen = everything.slice(); draw(); });
    choice.addEventListener("change", () => choose(Number(choice.value)));
    $$("[data-step]").forEach((button) => button.addEventListener("click", () => {
      const n = data.neurons.length;
      choice.value = (Number(choice.value) + Number(button.dataset.step) + n) % n;
      choose(Number(choice.value));
    }));
    new ResizeObserver(draw).observe(canvas);
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    if (data.neurons.length) { choose(0); }
  }
})();
