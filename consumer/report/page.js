"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const isNarrow = () => window.innerWidth < 500;

  // Text and grid take the colours of the page, in both themes.
  const paint = (layout) => {
    const ink = css("--ink"), grid = css("--grid");
    const painted = { ...layout, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)" };
    painted.font = { ...layout.font, color: ink, size: isNarrow() ? 11 : 12, family: "system-ui, sans-serif" };
    painted.margin = { t: 30, r: 16, b: 46, l: 46, ...layout.margin };
    painted.hoverlabel = { bgcolor: css("--card"), bordercolor: css("--line"), font: { color: ink } };
    for (const name of ["xaxis", "yaxis"]) {
      const axis = layout[name] || {};
      painted[name] = { gridcolor: grid, zerolinecolor: grid, linecolor: grid, automargin: true, ...axis, fixedrange: true };
    }
    return painted;
  };
  const options = { responsive: true, displayModeBar: false };

  // On a phone labels of both sides would meet in the middle.
  const flows = (trace) => {
    const cut = (label) => isNarrow() && label.length > 26 ? `${label.slice(0, 25)}…` : label;
    const node = { ...trace.node, label: trace.node.label.map(cut) };
    return { ...trace, node, textfont: { color: css("--ink"), size: isNarrow() ? 10 : 12 } };
  };

  const draw = (place) => {
    const figure = figures[place.dataset.figure];
    const data = figure.data.map((trace) => trace.type === "sankey" ? flows(trace) : trace);
    place.dataset.state = "drawn";
    return Plotly.react(place, data, paint(figure.layout), options);
  };

  const places = [...document.querySelectorAll(".plot")];
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) {
        seen.unobserve(entry.target);
        draw(entry.target);
      }
    }
  }, { rootMargin: "800px" });
  places.forEach((place) => seen.observe(place));

  const again = () => places.filter((place) => place.dataset.state).forEach(draw);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  window.addEventListener("beforeprint", () => places.filter((place) => !place.dataset.state).forEach(draw));
})();
