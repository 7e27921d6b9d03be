/// The style sheet of a report: one column, two themes, print.
enum ReportStyle {
  /// The sheet for these colours.
  static func sheet(_ colors: ReportColors) -> String {
    """
    :root{color-scheme:light dark;--page:#f7f8f9;--card:#ffffff;--ink:#1a1f24;--soft:#5b6670;--faint:#8a949e;
    --line:#e2e6ea;--grid:#eceff2;--context:#c9d0d6;--warn:#8a5a00;--warnbg:#fff6e2;--warnline:#f0d9a6;
    --good:#1d7a4a;--bad:#b3372f;\(colors.lightVariables)}
    @media (prefers-color-scheme:dark){:root{--page:#0e1216;--card:#151a20;--ink:#e6eaee;--soft:#a3aeb9;
    --faint:#75808b;--line:#2a323a;--grid:#20272e;--context:#3d4751;--warn:#f0c56b;--warnbg:#251e10;--warnline:#4a3c1b;
    --good:#5cc98f;--bad:#ff8f85;\(colors.darkVariables)}}
    \(colors.classes)
    \(base)
    \(figures)
    \(samples)
    \(print)
    """
  }

  private static let base = """
    *{box-sizing:border-box}
    html{-webkit-text-size-adjust:100%}
    body{margin:0;background:var(--page);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
    "Helvetica Neue",Arial,sans-serif;font-variant-numeric:tabular-nums;overflow-wrap:break-word}
    main{max-width:1120px;margin:0 auto;padding:clamp(20px,4vw,56px) clamp(16px,4vw,40px)}
    h1{font-size:clamp(1.65rem,1.2rem + 2vw,2.5rem);line-height:1.15;letter-spacing:-.02em;margin:.2em 0 .5em;
    font-weight:680;text-wrap:balance}
    h2{font-size:1.3rem;line-height:1.25;letter-spacing:-.01em;margin:0 0 .3em;font-weight:660;text-wrap:balance}
    h3{font-size:1rem;line-height:1.3;margin:0 0 .4em;font-weight:640}
    p{margin:0 0 .8em;max-width:68ch}
    code,.mono{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:.875em}
    .kicker{color:var(--soft);font-size:.8125rem;letter-spacing:.08em;text-transform:uppercase;margin:0}
    .lead{font-size:clamp(1.05rem,1rem + .4vw,1.25rem);line-height:1.5;max-width:62ch}
    .lead b{white-space:nowrap}
    .soft{color:var(--soft)}
    section{margin-top:clamp(40px,6vw,64px)}
    figure{margin:20px 0 0;padding:clamp(14px,2.2vw,24px);background:var(--card);border:1px solid var(--line);
    border-radius:10px;min-width:0}
    figcaption{color:var(--soft);font-size:.8125rem;line-height:1.5;margin-top:14px;max-width:90ch}
    .scroll{overflow-x:auto;-webkit-overflow-scrolling:touch}
    .ink{color:var(--c);font-weight:620}
    .chip{display:inline-block;width:.7em;height:.7em;border-radius:2px;background:var(--c);margin-right:.45em}
    dl.facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(max(145px,21%),1fr));gap:14px 28px;
    margin:26px 0 0;padding:18px 0 0;border-top:1px solid var(--line)}
    dl.facts div{min-width:0}
    dl.facts dt{color:var(--soft);font-size:.75rem;letter-spacing:.04em;text-transform:uppercase}
    dl.facts dd{margin:1px 0 0;font-size:.9375rem;line-height:1.4}
    .nowrap{white-space:nowrap}
    ul.warnings{list-style:none;margin:24px 0 0;padding:0;display:grid;gap:8px}
    ul.warnings li{background:var(--warnbg);border:1px solid var(--warnline);border-radius:8px;padding:9px 14px;
    font-size:.9375rem;line-height:1.45}
    ul.warnings b{color:var(--warn);font-weight:640;margin-right:.35em}
    table{border-collapse:collapse;font-size:.875rem;line-height:1.35;width:100%}
    th{color:var(--soft);font-weight:560;text-align:right;padding:6px 10px;vertical-align:bottom;white-space:nowrap}
    td{text-align:right;padding:6px 10px;border-top:1px solid var(--line);white-space:nowrap}
    th:first-child,td:first-child{text-align:left;padding-left:0}
    td small{color:var(--soft);font-size:.9em;display:block}
    table.heat td small{display:inline}
    details{margin-top:14px}
    summary{cursor:pointer;color:var(--soft);font-size:.875rem}
    summary:hover{color:var(--ink)}
    details[open] summary{margin-bottom:10px}
    footer{margin-top:64px;padding-top:20px;border-top:1px solid var(--line);color:var(--soft);font-size:.8125rem}
    footer li{margin:.2em 0}
    """

  private static let figures = """
    .stack{display:flex;height:30px;border-radius:5px;overflow:hidden;gap:1px;background:var(--card)}
    .stack i{display:flex;flex-wrap:wrap;justify-content:center;align-content:flex-start;background:var(--c);color:var(--on);
    font-style:normal;font-size:.75rem;line-height:30px;height:30px;white-space:nowrap;overflow:hidden;min-width:0}
    .stack i::before{content:"";height:30px;width:1px}
    .stacks{display:grid;grid-template-columns:max-content 1fr;gap:8px 14px;align-items:center;font-size:.875rem}
    .rows{display:grid;grid-template-columns:max-content minmax(0,1fr) max-content;gap:2px 14px;align-items:center;
    font-size:.9375rem}
    .row{display:contents}
    .rows .value{text-align:right;white-space:nowrap}
    .rows .value small{color:var(--soft);display:inline-block;font-size:.8125rem}
    .rows .value small.wide{min-width:8.5em}
    .rows.types{row-gap:0}
    .rows svg{display:block;overflow:visible}
    .bar{fill:var(--c)}
    .halo{stroke:var(--card);stroke-width:5;opacity:.75}
    .whisker{stroke:var(--ink);stroke-width:1.5}
    .uniform{stroke:var(--ink);stroke-width:1.5;stroke-dasharray:3 2.5}
    .track{fill:var(--grid)}
    .plot{display:grid;grid-template-columns:var(--ys,2.9em) minmax(0,1fr) var(--ends,6.4em);grid-template-rows:var(--h) 1.6em;
    font-size:.75rem;line-height:1;color:var(--soft)}
    .plot .y,.plot .ends,.plot .x{position:relative}
    .plot .y span{position:absolute;right:8px;transform:translateY(-50%);white-space:nowrap}
    .plot .ends span{position:absolute;left:9px;transform:translateY(-50%);white-space:nowrap;color:var(--c);
    font-weight:620;font-size:.8125rem}
    .plot .x{grid-column:2}
    .plot .x span{position:absolute;top:8px;transform:translateX(-50%);white-space:nowrap}
    .plot .axis{grid-column:1 / -1;padding-top:8px;text-align:center}
    .plot svg{width:100%;height:100%;overflow:visible;display:block}
    .plot svg *{vector-effect:non-scaling-stroke}
    .gridline{stroke:var(--grid);stroke-width:1;fill:none}
    .zero{stroke:var(--faint);stroke-width:1}
    .curve{stroke:var(--c);stroke-width:2.25;fill:none;stroke-linejoin:round;stroke-linecap:round}
    .band{fill:var(--c);opacity:.16}
    .dot{stroke:var(--c);stroke-width:7;stroke-linecap:round}
    .context{stroke:var(--context);stroke-width:1.25;fill:none;stroke-linejoin:round}
    .dashed{stroke:var(--c);stroke-width:1.5;stroke-dasharray:5 4;fill:none}
    .hover{stroke:transparent;stroke-width:18;stroke-linecap:round}
    .panels{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,var(--panel,150px)),1fr));gap:22px 20px}
    .panels>div{min-width:0}
    .panels.small{grid-template-columns:repeat(auto-fill,minmax(max(135px,30%),1fr))}
    .panels h3{font-size:.875rem}
    .panels.small h3 span{color:var(--soft);font-weight:400;font-size:.75rem;display:block}
    table.heat{border-collapse:separate;border-spacing:2px;width:auto}
    table.heat td{border:0;border-radius:3px;text-align:center;padding:7px 4px;min-width:84px}
    table.heat th{text-align:center;padding:4px;font-size:.8125rem}
    table.heat.dense td{padding:2px 4px}
    table.heat th small{font-weight:400}
    table.heat tbody th{vertical-align:middle}
    table.heat th:first-child{text-align:right;padding-right:10px;font-variant-numeric:tabular-nums}
    table.heat td.plain{color:var(--soft)}
    .none{background:repeating-linear-gradient(45deg,var(--grid) 0 3px,transparent 3px 6px)}
    .scale{display:flex;align-items:center;gap:8px;font-size:.75rem;color:var(--soft);margin-top:12px}
    .scale div{display:flex;width:min(220px,45%);height:10px;border-radius:2px;overflow:hidden}
    .scale i{flex:1}
    .headgrids{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:36px}
    .headgrids>div{min-width:0}
    .heads{display:grid;gap:2px;font-size:.75rem;line-height:1;align-items:stretch;max-width:var(--most)}
    .heads b{font-weight:400;color:var(--soft);display:flex;align-items:center;justify-content:center}
    .heads i{font-style:normal;border-radius:2px;aspect-ratio:var(--ratio);display:flex;align-items:center;
    justify-content:center;min-width:0;overflow:hidden}
    .heads i:hover{outline:2px solid var(--ink);outline-offset:-1px}
    .toplist{margin-top:18px;font-size:.875rem}
    .legend{display:flex;flex-wrap:wrap;gap:4px 18px;font-size:.8125rem;color:var(--soft);margin:0 0 12px}
    .legend svg{display:inline-block;vertical-align:-1px;margin-right:5px;overflow:visible}
    .types .value{color:var(--soft);font-size:.8125rem}
    .types .ticks{position:relative;height:1.2em;font-size:.75rem;color:var(--soft)}
    .types .ticks span{position:absolute;transform:translateX(-50%);white-space:nowrap}
    .types .ticks span:first-child{transform:none}.types .ticks span:last-child{transform:translateX(-100%)}
    .typedot{fill:var(--c);stroke:var(--card);stroke-width:1.5}
    .typebar{stroke:var(--c);stroke-width:2.5;opacity:.55;stroke-linecap:round}
    """

  private static let samples = """
    .sample{margin-top:20px}
    .sample header{display:flex;flex-wrap:wrap;gap:4px 12px;align-items:baseline;margin-bottom:12px}
    .sample header h3{margin:0}
    .tag{font-size:.75rem;color:var(--soft);border:1px solid var(--line);border-radius:99px;padding:0 9px;line-height:1.6}
    .pieces{font-size:1.0625rem;line-height:2;margin:0 0 14px;max-width:none}
    .piece{position:relative;z-index:0;padding:3px 1px;white-space:pre-wrap;unicode-bidi:isolate}
    .piece::before{content:"";position:absolute;inset:1px 0;border-radius:3px;background:var(--c);opacity:var(--a);z-index:-1}
    .piece.mark{font-size:.75rem}
    .medium{display:inline-block;border:1.5px solid var(--c);color:var(--c);border-radius:5px;font-size:.75rem;
    line-height:1.5;padding:0 7px;margin:0 3px;font-weight:620;white-space:nowrap;vertical-align:1px}
    .media{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,138px),1fr));gap:14px 16px;margin:0 0 16px;
    max-width:860px}
    .media>div{min-width:0}
    .media svg{display:block;width:100%;height:auto;max-height:230px;border-radius:4px;background:#000}
    .media svg image{image-rendering:pixelated}
    .media svg rect{fill:var(--c)}
    .media .cell{stroke:rgba(255,255,255,.22);stroke-width:.6;vector-effect:non-scaling-stroke}
    .media p{font-size:.75rem;color:var(--soft);margin:5px 0 0;line-height:1.35}
    .keys{display:block;overflow:visible;margin-top:4px}
    .keys rect{fill:var(--c)}
    .answer{display:flex;flex-wrap:wrap;gap:2px 20px;font-size:.9375rem;margin:0 0 14px}
    .right{color:var(--good);font-weight:620}.wrong{color:var(--bad);font-weight:620}
    .steps .stack{height:22px}.steps .stack i{height:22px;line-height:22px}.steps .stack i::before{height:22px}
    .steps{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:5px 14px;align-items:center;font-size:.8125rem;
    margin-top:14px;max-width:860px}
    """

  private static let print = """
    @media (max-width:620px){.rows:not(.tight){display:block}.rows:not(.tight) .row{display:grid;
    grid-template-columns:minmax(0,1fr) max-content;gap:1px 12px;margin-bottom:9px;align-items:baseline}
    .rows:not(.tight) .row>:nth-child(2){grid-row:2;grid-column:1 / -1}.rows .value small.wide{min-width:7.6em}
    .rows.types .row{margin-bottom:3px}.plot .ends span{font-size:.75rem;left:7px}.heat th.name{writing-mode:vertical-rl;
    transform:rotate(180deg);text-align:left;padding:4px 0}table.heat td{min-width:36px;padding:6px 2px;font-size:.8125rem}
    table.heat.dense td{padding:3px 2px}table.heat td small,table.heat th small{display:none}
    .stacks{grid-template-columns:1fr;gap:3px}.stacks>*:nth-child(odd):not(:first-child){margin-top:8px}
    }
    @media print{:root{--page:#fff}body{font-size:12px}main{max-width:none;padding:0}figure,.sample,ul.warnings li{
    break-inside:avoid}h2{break-after:avoid}details::details-content{content-visibility:visible;block-size:auto}
    table{font-size:9px}th,td{padding:3px 5px}.plot{--ends:7em}*{print-color-adjust:exact;-webkit-print-color-adjust:exact}.scroll{overflow:visible}}
    @media (forced-colors:active){.bar,.band,.dot,.curve,.stack i,.heads i,td[class^=q]{forced-color-adjust:none}}
    """
}
