(() => {
  // Figures are drawn when they come near: a page of many opens as fast as one of few.
  const root = document.documentElement;
  const night = matchMedia("(prefers-color-scheme: dark)"), narrow = matchMedia("screen and (max-width: 560px)");
  const onDark = Object.entries(JSON.parse(document.getElementById("on-dark").textContent));
  const figures = [...document.querySelectorAll(".plotly-graph-div")];
  const heard = document.getElementById("heard");
  const settings = { responsive: true, displayModeBar: false };
  // Scales tell values, pictures are pictures, and a label that says "white" is no colour.
  const scales = new Set(["colorscale", "images"]), labels = new Set(["ticktext", "text", "hovertext", "name", "x", "y"]);
  const asData = (key, value) => scales.has(key) || (labels.has(key) && (typeof value === "string" || Array.isArray(value)));
  const channels = hex => `rgba(${[1, 3, 5].map(at => parseInt(hex.slice(at, at + 2), 16)).join(",")},`;
  const darkened = part => {
    if (typeof part === "string") {
      for (const [light, dark] of onDark) {
        if (part === light) return dark;
        if (light[0] === "#" && part.startsWith(channels(light))) return part.replace(channels(light), channels(dark));
      }
      return part;
    }
    if (Array.isArray(part)) return part.map(darkened);
    if (part === null || typeof part !== "object" || "bdata" in part) return part;
    return Object.fromEntries(Object.entries(part).map(([key, value]) => [key, asData(key, value) ? value : darkened(value)]));
  };
  // On a narrow page panels stand below one another, each with its own labels; in pixels, what lies
  // around all of them, and what lies between two.
  const AROUND = 100, BETWEEN = 64;
  const stacked = layout => {
    const panels = Object.keys(layout).filter(key => /^xaxis\d*$/.test(key)).map(key => key.slice(5));
    const height = layout.height * panels.length, inside = height - AROUND;
    const share = (inside - BETWEEN * (panels.length - 1)) / panels.length / inside, step = share + BETWEEN / inside;
    const moved = panels.map((name, at) => {
      const { matches, showticklabels, ...own } = layout["yaxis" + name];
      return { ["xaxis" + name]: { ...layout["xaxis" + name], domain: [0, 1] }, ["yaxis" + name]: { ...own, domain: [1 - at * step - share, 1 - at * step] } };
    });
    return Object.assign({ ...layout, height }, ...moved);
  };
  const draw = (figure, light = false) => {
    const given = JSON.parse(figure.parentElement.querySelector("script").textContent);
    const { data, layout } = night.matches && !light ? darkened(given) : given;
    figure.classList.add("drawn");
    figure.parentElement.querySelector(".save").hidden = false;
    const shown = figure.closest(".wide") && narrow.matches && !light ? stacked(layout) : layout;
    if (shown.height) figure.style.height = `${shown.height}px`;
    return Plotly.newPlot(figure, data, shown, settings);
  };
  const near = new IntersectionObserver(seen => {
    for (const each of seen) if (each.isIntersecting) { near.unobserve(each.target); draw(each.target); }
  }, { rootMargin: "400px" });
  const redraw = light => figures.filter(each => each.classList.contains("drawn")).forEach(each => draw(each, light));
  for (const each of [night, narrow]) each.addEventListener("change", () => redraw(false));

  // On paper everything is there: folded parts are open, and figures are light on a page's width.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    for (const each of folded) each.open = true;
    root.classList.add("printing");
    for (const each of figures) { near.unobserve(each); draw(each, true); }
  });
  addEventListener("afterprint", () => {
    for (const each of folded) each.open = false;
    root.classList.remove("printing");
    redraw(false);
  });

  // What pointing tells, the arrow keys tell too, and a screen reader says it.
  const points = figure => figure._fullData.flatMap((trace, curve) => {
    if (trace.visible !== true || trace.hoverinfo === "skip") return [];
    const subplot = (trace.xaxis || "x") + (trace.yaxis || "y");
    if (trace.type === "heatmap")
      return [...trace.z].flatMap((row, r) => [...row].map((value, c) => ({ curve, subplot, at: [r, c], told: trace.hovertext?.[r]?.[c] ?? String(value) })));
    return [...(trace.x || trace.y || [])].map((_, at) => ({ curve, subplot, at, told: Array.isArray(trace.hovertext) ? trace.hovertext[at] : `${trace.name || ""} ${trace.x?.[at]}, ${trace.y?.[at]}` }));
  });
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
  const move = event => {
    const figure = event.currentTarget, by = step[event.key];
    if (!by || !figure.classList.contains("drawn")) return;
    event.preventDefault();
    const all = points(figure);
    if (!all.length) return;
    const now = figure.dataset.at === undefined ? (by > 0 ? -1 : 0) : Number(figure.dataset.at);
    const next = (now + by + all.length) % all.length, { curve, subplot, at, told } = all[next];
    figure.dataset.at = next;
    // Of maps, plotly finds cells by where they are, not by their number.
    const place = Array.isArray(at) ? { xval: at[1], yval: at[0] } : [{ curveNumber: curve, pointNumber: at }];
    Plotly.Fx.hover(figure, place, subplot);
    heard.textContent = String(told).replace(/<br>/g, ", ").replace(/&lt;/g, "<").replace(/&gt;/g, ">").replace(/&amp;/g, "&");
  };
  for (const each of figures) {
    near.observe(each);
    each.addEventListener("keydown", move);
    each.parentElement.querySelector(".save").addEventListener("click", () => Plotly.downloadImage(each, { format: "png", scale: 2, filename: each.id.replace("figure-", ""), width: each.clientWidth, height: each.clientHeight }));
  }
})();
