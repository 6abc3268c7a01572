//! Line plots as SVG, both axes logarithmic where figures span several powers of ten.

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use serde::{Deserialize, Serialize};

const SIZE: (u32, u32) = (760, 420);
const COLOURS: [RGBColor; 6] = [
    RGBColor(0x1b, 0x6c, 0xa8),
    RGBColor(0xd1, 0x5b, 0x1f),
    RGBColor(0x2f, 0x85, 0x4a),
    RGBColor(0x8a, 0x4f, 0xa3),
    RGBColor(0x9a, 0x7d, 0x0a),
    RGBColor(0x60, 0x60, 0x60),
];

/// One drawing.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Plot {
    /// Of its file, without the ending.
    pub(crate) name: String,
    pub(crate) title: String,
    /// What the axes are, x first. The x axis is logarithmic.
    pub(crate) axes: [String; 2],
    pub(crate) lines: Vec<Line>,
}

/// One line of it.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

impl Plot {
    /// The drawing as SVG.
    pub(crate) fn svg(&self) -> Result<String> {
        let mut svg = String::new();
        // The errors of plotters borrow what is drawn on.
        self.draw(&mut svg).map_err(|error| anyhow!("plot {}: {error}", self.name))?;
        svg.push('\n');
        Ok(svg)
    }

    fn draw(&self, svg: &mut String) -> Result<()> {
        let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        let failed = |error: &dyn std::fmt::Display| anyhow!("{error}");
        area.fill(&WHITE).map_err(|error| failed(&error))?;
        let (x, y) = self.ranges();
        let mut chart = ChartBuilder::on(&area)
            .caption(&self.title, ("sans-serif", 17))
            .margin(14)
            .x_label_area_size(42)
            .y_label_area_size(58)
            .build_cartesian_2d((x.0..x.1).log_scale(), y.0..y.1)
            .map_err(|error| failed(&error))?;
        chart
            .configure_mesh()
            .x_desc(&self.axes[0])
            .y_desc(&self.axes[1])
            .light_line_style(WHITE)
            .x_label_formatter(&|x| thousands(*x))
            .draw()
            .map_err(|error| failed(&error))?;
        for (line, colour) in self.lines.iter().zip(COLOURS.iter().cycle()) {
            chart
                .draw_series(LineSeries::new(line.points.iter().copied(), colour.stroke_width(2)))
                .map_err(|error| failed(&error))?
                .label(&line.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
            let dots = line.points.iter().map(|&point| Circle::new(point, 3, colour.filled()));
            chart.draw_series(dots).map_err(|error| failed(&error))?;
        }
        chart
            .configure_series_labels()
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK.mix(0.3))
            .draw()
            .map_err(|error| failed(&error))?;
        area.present().map_err(|error| failed(&error))
    }

    /// From the least to the most on the x axis, from nothing to a little above the most on the y
    /// axis.
    fn ranges(&self) -> ((f64, f64), (f64, f64)) {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let least = points().map(|point| point.0).fold(f64::INFINITY, f64::min);
        let most = points().map(|point| point.0).fold(1.0, f64::max);
        let top = points().map(|point| point.1).fold(0.0, f64::max);
        ((least.min(most / 10.0), most), (0.0, (top * 1.1).max(1.0)))
    }
}

/// `1000000` as `1,000,000`.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(points: Vec<(f64, f64)>) -> Plot {
        let lines = vec![Line { name: "ours <1>".to_owned(), points }];
        let axes = ["checks".to_owned(), "µs".to_owned()];
        Plot { name: "scale".to_owned(), title: "Cost".to_owned(), axes, lines }
    }

    #[test]
    fn a_plot_shows_its_lines() {
        let svg = plot(vec![(1e3, 20.0), (1e6, 30.0)]).svg().unwrap();
        assert!(svg.starts_with("<svg"), "{svg}");
        assert!(svg.contains("<polyline") && svg.matches("<circle").count() == 2, "{svg}");
        assert!(svg.contains("ours &lt;1&gt;") && svg.contains("1,000,000"), "{svg}");
    }

    #[test]
    fn a_plot_of_one_point_or_none_is_drawn() {
        plot(vec![(100.0, 0.0)]).svg().unwrap();
        plot(vec![]).svg().unwrap();
    }

    #[test]
    fn digits_are_grouped() {
        let texts = [1.0, 999.0, 1000.0, 50_000.0, 1e6].map(thousands);
        assert_eq!(texts, ["1", "999", "1,000", "50,000", "1,000,000"]);
    }
}
