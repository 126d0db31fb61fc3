//! The stylesheet, for light and dark colour schemes.

/// Class names have the prefix `gw-` to avoid clashes with those of an embedding page.
pub const STYLE: &str = "
text{font-family:system-ui,-apple-system,'Segoe UI','DejaVu Sans',\
Verdana,Arial,sans-serif;fill:#2b2a28}
.gw-page{fill:#fffdf9}.gw-title{font-size:20px;font-weight:700}\
.gw-name{font-size:14px;font-weight:700}
.gw-duty{font-size:12px}.gw-small{font-size:11px;fill:#6b665c}\
.gw-badge{font-size:11px;font-weight:700;fill:#fff}
.gw-pill{fill:#2f6f8f}.gw-panel{fill:#f6f1e6;stroke:#ddd3bf}.gw-ground{fill:#f6f1e6}\
.gw-back{fill:#ece4d3;stroke:#d3c8b1}
.gw-track{fill:none;stroke:#cdc1a8;stroke-width:7}\
.gw-rail{fill:none;stroke:#fffdf9;stroke-width:1.5;stroke-dasharray:5 5}
.gw-chevron{fill:none;stroke:#8d8067;stroke-width:2.5;stroke-linecap:round;stroke-linejoin:round}
.gw-line,.gw-fan{fill:none;stroke:#a89c84;stroke-width:2.5}.gw-head{fill:#a89c84}
.gw-ask{fill:none;stroke:#557a4c;stroke-width:2;stroke-dasharray:3 4}.gw-ask-head{fill:#557a4c}
.gw-team{fill:#eef4ea;stroke:#c3d6bb}
.gw-meet{fill:#e3eff4;stroke:#2f6f8f;stroke-width:1.5;stroke-dasharray:6 4}
@media (prefers-color-scheme:dark){
text{fill:#ece8df}.gw-page{fill:#1b1c1f}.gw-small{fill:#b0aa9d}.gw-badge{fill:#fff}
.gw-panel{fill:#26282c;stroke:#3d4046}.gw-ground{fill:#26282c}\
.gw-back{fill:#2f3237;stroke:#484c53}.gw-track{stroke:#565a62}.gw-rail{stroke:#26282c}
.gw-chevron{stroke:#a5a9b2}.gw-line,.gw-fan{stroke:#7d828c}.gw-head{fill:#7d828c}
.gw-ask{stroke:#8fbf83}.gw-ask-head{fill:#8fbf83}.gw-team{fill:#232b22;stroke:#435540}\
.gw-meet{fill:#20323b;stroke:#5fa8c8}
}
";
