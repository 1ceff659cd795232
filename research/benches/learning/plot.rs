//! Line plots as SVG.

use std::error::Error;
use std::fmt::Write;
use std::path::Path;

/// A named line.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

const COLOURS: [&str; 6] = [
    "#0b6e4f", "#7fb069", "#c1666b", "#4281a4", "#d4b483", "#6b6b6b",
];
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
/// Left, right, top, bottom.
const MARGINS: [f64; 4] = [50.0, 190.0, 20.0, 40.0];

/// Writes `directory/plots/name.svg`: gains over a logarithmic axis. Returns its path from
/// `directory`.
pub(crate) fn write(
    directory: &Path,
    name: &str,
    axis: &str,
    lines: &[Line],
) -> Result<String, Box<dyn Error>> {
    std::fs::create_dir_all(directory.join("plots"))?;
    let path = format!("plots/{name}.svg");
    std::fs::write(directory.join(&path), drawn(axis, lines)?)?;
    Ok(path)
}

fn drawn(axis: &str, lines: &[Line]) -> Result<String, std::fmt::Error> {
    let points = || lines.iter().flat_map(|l| &l.points);
    let fold =
        |f: fn(f64, f64) -> f64, start, of: fn(&(f64, f64)) -> f64| points().map(of).fold(start, f);
    let (left, right) = (
        fold(f64::min, f64::INFINITY, |p| p.0),
        fold(f64::max, 1.0, |p| p.0),
    );
    let low = (fold(f64::min, 0.0, |p| p.1).max(-60.0) / 10.0).floor() * 10.0;
    let high = (fold(f64::max, 10.0, |p| p.1) / 10.0).ceil() * 10.0;
    let [l, r, t, b] = MARGINS;
    let x = |v: f64| l + (v / left).ln() / (right / left).ln() * (WIDTH - l - r);
    let y = |v: f64| t + (high - v.max(low)) / (high - low) * (HEIGHT - t - b);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n"
    );
    let mut grid = low;
    while grid <= high {
        let (at, colour) = (y(grid), if grid == 0.0 { "#888" } else { "#e4e4e4" });
        writeln!(
            svg,
            "<path d=\"M{l} {at:.1}H{:.1}\" stroke=\"{colour}\"/>",
            WIDTH - r
        )?;
        writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{grid}</text>",
            l - 6.0,
            at + 4.0
        )?;
        grid += 10.0;
    }
    for (v, _) in lines.first().map_or(&[][..], |l| &l.points) {
        writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{v}</text>",
            x(*v),
            HEIGHT - b + 16.0
        )?;
    }
    let centre = l + (WIDTH - l - r) / 2.0;
    writeln!(
        svg,
        "<text x=\"{centre:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{axis}</text>",
        HEIGHT - 6.0
    )?;
    writeln!(svg, "<text x=\"{l}\" y=\"13\">gain in P@10 x 1000</text>")?;
    for (i, line) in lines.iter().enumerate() {
        let colour = COLOURS[i % COLOURS.len()];
        let path: Vec<String> = line
            .points
            .iter()
            .map(|(u, v)| format!("{:.1} {:.1}", x(*u), y(*v)))
            .collect();
        writeln!(
            svg,
            "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            path.join("L")
        )?;
        let at = t + 14.0 + 18.0 * i as f64;
        writeln!(
            svg,
            "<path d=\"M{:.1} {at:.1}h18\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            WIDTH - r + 12.0
        )?;
        writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            WIDTH - r + 36.0,
            at + 4.0,
            line.name
        )?;
    }
    svg += "</svg>\n";
    Ok(svg)
}
