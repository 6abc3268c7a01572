//! Lists that do not fit into one line.
//!
//! How long an element can become is reckoned, not tried: a bound is cheap, and nothing is written
//! twice.

use std::time::{Duration, SystemTime};

use hc_types::{RawBytes, Rejection};

use crate::{MAX_LINE, Notification};

/// What a line holds beside the elements of its list, generously.
const FRAME: usize = 1024;
/// What a byte of text can become: `\u0000`.
const ESCAPED: usize = 6;
/// The longest text of a notification; what is longer is cut.
const LONGEST_TEXT: usize = 16 * 1024;
/// The longest text of a status in a page that would not fit otherwise: 500 × (400 + 6 × 280) are
/// less than a line.
const CUT_TEXT: usize = 280;
/// The seconds from 1970 to the year 10000, which RFC 3339 has no digits for.
const YEAR_10000: Duration = Duration::from_secs(253_402_300_800);

/// An element of a list that may be split.
pub trait Element {
    /// A bound on its bytes in JSON, and the comma after it.
    fn bound(&self) -> usize;
}

impl Element for Notification {
    fn bound(&self) -> usize {
        // The names of the fields, two numbers of 20 digits, an id, an instant, the longest
        // duration.
        400 + self.status.message.len() * ESCAPED
    }
}

impl Element for Rejection {
    fn bound(&self) -> usize {
        64 + self.reason.len() * ESCAPED
    }
}

/// Cuts a list into pieces of which each fits into one line. At least one piece, which may be
/// empty.
pub fn pieces<T: Element>(items: Vec<T>) -> Vec<Vec<T>> {
    let mut pieces = Vec::new();
    let mut piece = Vec::new();
    let mut room = MAX_LINE - FRAME;
    for item in items {
        let bound = item.bound();
        if bound > room && !piece.is_empty() {
            pieces.push(std::mem::take(&mut piece));
            room = MAX_LINE - FRAME;
        }
        room = room.saturating_sub(bound);
        piece.push(item);
    }
    pieces.push(piece);
    pieces
}

/// Makes sure that each notification can be written: its text is cut to a length that always fits,
/// and an instant that the protocol cannot express (before 1970, after 9999: a clock that is wrong)
/// is left out. The state is what counts, and it is always sent.
#[must_use]
pub fn writable<T: Into<Notification>>(statuses: Vec<T>) -> Vec<Notification> {
    let mut notifications: Vec<Notification> = statuses.into_iter().map(Into::into).collect();
    for status in notifications.iter_mut().map(|notification| &mut notification.status) {
        shorten(&mut status.message, LONGEST_TEXT);
        let expressible = |instant: &SystemTime| {
            instant.duration_since(SystemTime::UNIX_EPOCH).is_ok_and(|since| since < YEAR_10000)
        };
        status.last_check = status.last_check.filter(expressible);
    }
    notifications
}

/// Makes a list fit into one line, by cutting texts if it must be: 500 notifications always fit
/// then.
#[must_use]
pub fn fitting<T: Into<Notification>>(statuses: Vec<T>) -> Vec<Notification> {
    let mut notifications = writable(statuses);
    let bound: usize = notifications.iter().map(Element::bound).sum();
    if bound > MAX_LINE - FRAME {
        for message in notifications.iter_mut().map(|notification| &mut notification.status.message) {
            shorten(message, CUT_TEXT);
        }
    }
    notifications
}

fn shorten(message: &mut RawBytes, longest: usize) {
    if message.len() > longest {
        *message = match std::str::from_utf8(message.as_slice()) {
            Ok(text) => text[..text.floor_char_boundary(longest)].into(),
            Err(_) => RawBytes::from(&message.as_slice()[..longest]),
        };
    }
}

#[cfg(test)]
mod tests {
    use hc_types::{CheckId, Health};

    use super::*;
    use crate::{BatchBody, Message, NotificationBatch, StatusLine, StatusResponse, ToProxy, encode};

    fn length(message: &impl Message) -> usize {
        let mut line = Vec::new();
        encode(message, &mut line).unwrap();
        line.len()
    }

    fn notification(message: RawBytes) -> Notification {
        let status = StatusLine {
            last_check: Some(SystemTime::UNIX_EPOCH + Duration::new(253_402_300_799, 999_999_999)),
            duration: Duration::MAX,
            failures: u64::MAX,
            successes: u64::MAX,
            state: Health::Unhealthy,
            message,
        };
        Notification { id: CheckId(u64::MAX), status }
    }

    #[track_caller]
    fn check_bound(message: RawBytes) {
        let notification = notification(message);
        let length = serde_json::to_vec(&notification).unwrap().len() + 1;
        assert!(length <= notification.bound(), "{length} > {}", notification.bound());
    }

    #[test]
    fn the_bound_holds_for_the_longest_values() {
        check_bound(RawBytes::default());
        check_bound(vec![0; 1000].into());
        check_bound(vec![0xff].into());
        check_bound(vec![0xff; 1000].into());
        let rejection = Rejection { id: Some(CheckId(u64::MAX)), reason: "\u{1}".repeat(100) };
        assert!(serde_json::to_vec(&rejection).unwrap().len() < rejection.bound());
    }

    #[test]
    fn pieces_fit_into_lines_and_lose_nothing() {
        let all: Vec<_> = (0..5000).map(|_| notification(vec![b'"'; 100].into())).collect();
        let pieces = pieces(all.clone());
        assert!(pieces.len() > 1);
        for piece in &pieces {
            let batch = BatchBody { notifications: piece.clone() };
            let message =
                ToProxy::from(NotificationBatch { batch, seq: Some(u64::MAX), generation: Some(u64::MAX) });
            assert!(length(&message) <= MAX_LINE);
        }
        assert_eq!(pieces.concat(), all);
        assert_eq!(super::pieces(Vec::<Rejection>::new()), vec![Vec::new()]);
    }

    #[test]
    fn a_page_of_500_statuses_fits_into_a_line_whatever_their_texts() {
        let page = |text: RawBytes| fitting((0..500).map(|_| notification(text.clone())).collect());
        for text in [vec![0; 100_000].into(), vec![0xff; 100_000].into(), "é".repeat(50_000).as_str().into()]
        {
            let statuses = page(text);
            let message =
                ToProxy::from(StatusResponse { statuses, part: Some(u32::MAX), parts: Some(u32::MAX) });
            assert!(length(&message) <= MAX_LINE);
        }
        assert_eq!(page("short".into())[0].status.message.as_slice(), b"short");
    }

    #[test]
    fn what_cannot_be_written_is_made_to() {
        let mut old = notification("é".repeat(LONGEST_TEXT).as_str().into());
        old.status.last_check = Some(SystemTime::UNIX_EPOCH - Duration::from_secs(1));
        let mut raw = notification(vec![0xff; MAX_LINE].into());
        raw.status.last_check = Some(SystemTime::UNIX_EPOCH + YEAR_10000);
        for notification in writable(vec![old, raw]) {
            assert_eq!(notification.status.last_check, None);
            assert!(notification.status.message.len() <= LONGEST_TEXT);
            assert!(serde_json::to_vec(&notification).is_ok());
        }
    }
}
