"""The style sheet of the picture of a search: light, dark and print."""

CSS = """
:root {
  color-scheme: light dark;
  --paper: #fbfaf8; --panel: #ffffff; --ink: #1c1b1a; --soft: #6a6762; --line: #dedad3;
  --edge: #a8a39a; --accent: #1f5fbf; --accent-wash: #eaf1fc; --good: #1a7a4c; --bad: #b3402a;
  --p0: #c2452d; --p1: #d98032; --p2: #c9a227; --p3: #5b9f6b; --p4: #1a7a4c; --track: #ebe7e0;
}
@media (prefers-color-scheme: dark) { :root {
  --paper: #161719; --panel: #1f2124; --ink: #ecebe8; --soft: #9c9a95; --line: #35373b;
  --edge: #6a6c70; --accent: #7fb0ff; --accent-wash: #1d2b42; --good: #62c794; --bad: #ef8a72;
  --p0: #e8705a; --p1: #e89a56; --p2: #dcbc50; --p3: #7fbf8d; --p4: #4fc08a; --track: #34363a;
} }
@media print { :root {
  color-scheme: light;
  --paper: #ffffff; --panel: #ffffff; --ink: #000000; --soft: #444444; --line: #bbbbbb;
  --edge: #888888; --accent: #1f5fbf; --accent-wash: #eef3fb; --good: #1a7a4c; --bad: #b3402a;
  --p0: #c2452d; --p1: #d98032; --p2: #c9a227; --p3: #5b9f6b; --p4: #1a7a4c; --track: #e6e6e6;
} }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
  -webkit-print-color-adjust: exact; print-color-adjust: exact; }
main { padding: 40px clamp(20px, 4vw, 64px) 64px; }
header, section.prose { max-width: 78rem; }
.eyebrow { margin: 0; font-size: 13px; color: var(--soft); }
h1 { margin: 6px 0 20px; max-width: 54rem; font-size: clamp(20px, 2.2vw, 27px); line-height: 1.25;
  font-weight: 640; letter-spacing: -0.012em; text-wrap: balance; overflow-wrap: anywhere;
  white-space: pre-line; }
h2 { margin: 36px 0 10px; font-size: 17px; font-weight: 640; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 14px; }
.panel { background: var(--panel); border: 1px solid var(--line); border-radius: 10px;
  padding: 12px 16px; min-width: 0; }
.panel h3 { margin: 0 0 4px; font-size: 13px; font-weight: 600; color: var(--soft); }
.panel.right { border-color: var(--good); }
.panel.right h3 { color: var(--good); }
.panel.wrong { border-color: var(--bad); }
.panel.wrong h3 { color: var(--bad); }
code, .mono { font-family: ui-monospace, "SF Mono", Menlo, "DejaVu Sans Mono", "Liberation Mono",
  Consolas, monospace; }
.panel code { display: block; font-size: 14px; line-height: 1.55; white-space: pre-wrap;
  overflow-wrap: anywhere; }
dl.facts { display: flex; flex-wrap: wrap; gap: 6px 32px; margin: 18px 0 0; }
dl.facts div { min-width: 0; }
dl.facts dt { font-size: 12.5px; color: var(--soft); }
dl.facts dd { margin: 0; font-size: 15px; font-variant-numeric: tabular-nums;
  overflow-wrap: anywhere; }
.legend { display: flex; flex-wrap: wrap; gap: 8px 24px; margin: 0 0 14px; padding: 0;
  list-style: none; font-size: 13.5px; color: var(--soft); }
.legend li { display: flex; align-items: center; gap: 8px; }
.legend svg { flex: none; }
figure { margin: 0; padding: 8px; overflow-x: auto; background: var(--panel);
  border: 1px solid var(--line); border-radius: 10px; }
figure svg.tree { display: block; max-width: none; }
svg text { fill: var(--ink); font: 12px ui-monospace, "SF Mono", Menlo, "DejaVu Sans Mono",
  "Liberation Mono", Consolas, monospace; }
svg .sans { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
svg .head { font-size: 13px; font-weight: 640; }
svg .small { font-size: 10.5px; fill: var(--soft); }
svg .number { font-size: 10.5px; }
svg .mark-gold { font-size: 13px; font-weight: 700; fill: var(--good); }
svg .mark-dead { font-size: 11px; font-weight: 640; fill: var(--bad); }
svg .edge { fill: none; stroke: var(--edge); stroke-width: 1.5; }
svg .edge.pruned { stroke-width: 1; stroke-dasharray: 3 4; opacity: 0.6; }
svg .edge.path { stroke: var(--accent); stroke-width: 4; }
svg .box { fill: var(--panel); stroke: var(--edge); stroke-width: 1.25; }
svg .pruned .box { stroke-dasharray: 4 4; }
svg .pruned { opacity: 0.58; }
svg a:hover .pruned, svg a:focus .pruned { opacity: 1; }
svg .path .box { stroke: var(--accent); stroke-width: 2.75; fill: var(--accent-wash); }
svg .track { fill: var(--track); }
svg .p0 { fill: var(--p0); } svg .p1 { fill: var(--p1); } svg .p2 { fill: var(--p2); }
svg .p3 { fill: var(--p3); } svg .p4 { fill: var(--p4); }
svg .rule { stroke: var(--line); stroke-width: 1; }
svg a:hover .box { stroke: var(--accent); }
table { width: 100%; border-collapse: collapse; font-size: 14px; }
th { text-align: left; font-size: 12.5px; font-weight: 600; color: var(--soft); }
th, td { padding: 6px 14px 6px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
th.n { text-align: right; }
td code { font-size: 13px; white-space: pre-wrap; overflow-wrap: anywhere; }
tr.path td { background: var(--accent-wash); }
tr.pruned td { color: var(--soft); }
tr:target td { outline: 2px solid var(--accent); outline-offset: -2px; }
.table { overflow-x: auto; }
@media print {
  @page { size: landscape; margin: 12mm; }
  main { padding: 0; }
  figure { border: 0; padding: 0; overflow: visible; }
  figure svg.tree { width: 100%; height: auto; max-height: 175mm; }
  h2 { break-after: avoid; }
  tr { break-inside: avoid; }
}
"""
