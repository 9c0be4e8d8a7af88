//! QR codes of links, for whoever has a camera: in a terminal and on a page.
//!
//! The least error correction: what is shown on a screen has no stains, and fewer, larger squares are read from
//! farther away. What does not fit into a code ([`MAX_LINK`](parlor_proto::session::link::MAX_LINK) always does) has
//! none.

use qrcode::{
    EcLevel, QrCode,
    render::{svg, unicode::Dense1x2},
};

/// Light on a dark ground whatever the terminal's own colours are: bright white on black, and back.
const ON: &str = "\u{1b}[97;40m";
const OFF: &str = "\u{1b}[0m";

fn code(text: &str) -> Option<QrCode> {
    QrCode::with_error_correction_level(text, EcLevel::L).ok()
}

/// Two rows of squares a line; with `colours` as a terminal knows them, else for one with a dark ground.
pub(crate) fn lines(text: &str, colours: bool) -> Vec<String> {
    let Some(code) = code(text) else { return Vec::new() };
    // What is printed is light: the ground of the code.
    let drawn = code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build();
    let line = |line: &str| if colours { format!("{ON}{line}{OFF}") } else { line.to_owned() };
    drawn.lines().map(line).collect()
}

/// Black on white, as a whole document.
pub(crate) fn svg(text: &str) -> Option<String> {
    let code = code(text)?;
    Some(
        code.render::<svg::Color<'_>>()
            .dark_color(svg::Color("#000"))
            .light_color(svg::Color("#fff"))
            .build(),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use parlor_proto::session::link::MAX_LINK;
    use qrcode::Version;

    use super::*;

    #[test]
    fn a_link_fits_a_small_window_and_the_longest_fits_a_code() {
        // With two addresses: the example of docs/protocol.md.
        let link = concat!(
            "parlor:AGDFQJQAEQEACERARKEOHXLUBHYZL7KS3MWTZOS5OLFGOCN7DWKBEG7TOSEADNAPN5OFAAQCAIBAEAQCAIBAEAQCAIBA",
            "EASQAMBQGAYDAMBQGAYDAMBQGAYDAMNGWSOSAD3IESYEYCUE2CURAKNY3TIDJACMBKCNBIDJXDKP45JTM",
        );
        assert_eq!(code(link).unwrap().version(), Version::Normal(6));
        let plain = lines(link, false);
        assert!(plain.len() <= 25 && plain.iter().all(|line| line.chars().count() == 41 + 8), "{plain:?}");
        assert!(lines(link, true).iter().all(|line| line.starts_with(ON) && line.ends_with(OFF)));
        assert!(svg(link).unwrap().contains("<svg"));
        // However it is divided into modes.
        assert!(code(&"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".repeat(MAX_LINK / 32)).is_some());
        assert!(code(&"A7".repeat(MAX_LINK / 2)).is_some());
        assert!(lines(&"x".repeat(10_000), true).is_empty() && svg(&"x".repeat(10_000)).is_none());
    }
}
