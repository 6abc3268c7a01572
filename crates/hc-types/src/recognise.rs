//! Which protocol a peer speaks, by the first bytes that it sent.

/// How many bytes of a peer are looked at.
pub const RECOGNISED: usize = 128;

/// What a peer begins with that needs no second look. The first that fits counts.
const BEGINNINGS: &[(&[u8], &str)] = &[
    (b"HTTP/", "HTTP"),
    (b"SSH-", "SSH"),
    (b"RTSP/", "RTSP"),
    (b"SIP/2.0", "SIP"),
    (b"ICY ", "Shoutcast"),
    (b"AMQP", "AMQP"),
    (b"RFB 0", "VNC"),
    (b"@RSYNCD:", "rsync"),
    (b"INFO {", "NATS"),
    (b"* OK", "IMAP"),
    (b"* PREAUTH", "IMAP"),
    (b"* BYE", "IMAP"),
    (b"+PONG", "Redis"),
    (b"+OK\r\n", "Redis"),
    (b"+OK", "POP3"),
    (b"-NOAUTH", "Redis"),
    (b"-DENIED", "Redis"),
    (b"-LOADING", "Redis"),
    (b"-MASTERDOWN", "Redis"),
    (b"-MISCONF", "Redis"),
    (b"-NOPERM", "Redis"),
    (b"-READONLY", "Redis"),
    (b"-WRONGPASS", "Redis"),
    (b"-ERR unknown command", "Redis"),
    (b"-ERR wrong number of arguments", "Redis"),
    (b"-ERR Protocol error", "Redis"),
    (b"-ERR max number of clients", "Redis"),
    (b"-ERR", "Redis or POP3"),
    (b"ERROR\r\n", "memcached"),
    (b"CLIENT_ERROR", "memcached"),
    (b"SERVER_ERROR", "memcached"),
    (b"UNKNOWN_COMMAND\r\n", "beanstalkd"),
    (b"EFATAL", "PostgreSQL"),
    (b"\"IMPLEMENTATION\"", "ManageSieve"),
    (b"<stream:", "XMPP"),
    (b"NOTICE AUTH", "IRC"),
    (b"ERROR :", "IRC"),
    (b"\x13BitTorrent", "BitTorrent"),
    (b"\xff\0\0\0\0\0\0\0\x01\x7f", "ZeroMQ"),
    (b"\x05\0\0\0\x0b\x08\x05", "MySQL X"),
];

/// The name of the protocol whose first bytes these can be, such as `TLS`, `HTTP/2` or `SSH`.
/// `None`: it is not known, or too few bytes came. Bytes after the first [`RECOGNISED`] are not
/// looked at, and more bytes never make a known protocol unknown.
///
/// It is for texts. A verdict must not depend on it: any bytes may look like anything.
///
/// ```
/// assert_eq!(hc_types::recognise(b"SSH-2.0-OpenSSH_9.6\r\n"), Some("SSH"));
/// assert_eq!(hc_types::recognise(&[0x15, 3, 1, 0, 2, 2, 0x16]), Some("TLS"));
/// assert_eq!(hc_types::recognise(b"hello"), None);
/// ```
#[must_use]
pub fn recognise(bytes: &[u8]) -> Option<&'static str> {
    let bytes = &bytes[..bytes.len().min(RECOGNISED)];
    let known = BEGINNINGS.iter().find(|(beginning, _)| bytes.starts_with(beginning));
    known.map(|(_, name)| *name).or_else(|| in_bytes(bytes)).or_else(|| in_text(bytes))
}

/// Protocols of bytes.
fn in_bytes(bytes: &[u8]) -> Option<&'static str> {
    Some(match *bytes {
        // RFC 8446 section 5.1: change cipher spec, alert, handshake, data; versions from SSL 3.0
        // on.
        [20..=23, 3, 0..=4, ..] => "TLS",
        [20..=23, 254, 253 | 255, ..] => "DTLS",
        // RFC 9113 section 4.1: SETTINGS, or GOAWAY, on stream 0.
        [0, 0..=64, _, 4, 0 | 1, 0, 0, 0, 0, ..] | [0, 0..=64, _, 7, 0, 0, 0, 0, 0, ..] => "HTTP/2",
        // A handshake of protocol 10 with its version, or an error; each is packet 0 or 1.
        [_, _, 0, 0, 10, b'0'..=b'9', ..] | [_, _, 0, 0 | 1, 0xff, _, 4, ..] => "MySQL",
        // An error with its severity, or a request for authentication.
        [b'E', 0, 0, _, _, b'S', ..] | [b'R', 0, 0, 0, 8..=64, 0, 0, 0, ..] => "PostgreSQL",
        // A message with its number; then an operation of LDAP, or a community of SNMP.
        [0x30, _, 2, 1, _, 0x60..=0x7f, ..] => "LDAP",
        [0x30, _, 2, 1, 0..=3, 4, ..] => "SNMP",
        [3, 0, 0, _, _, 0xd0 | 0xf0, ..] => "RDP",
        [1, 3 | 6 | 7 | 11, 0, 0 | 1, _, _, _, 0, ..] => "FastCGI",
        [0, 0, _, _, 0xfe | 0xff, b'S', b'M', b'B', ..] => "SMB",
        [0 | 1, _, _, _, 0x21, 0x12, 0xa4, 0x42, ..] => "STUN",
        // RFC 9000 section 17: a long header of version 1, or a negotiation of versions.
        [0xc0..=0xff, 0, 0, 0, 1, ..] | [0x80..=0xff, 0, 0, 0, 0, ..] => "QUIC",
        // RFC 854: WILL, WONT, DO, DONT.
        [0xff, 0xfb..=0xfe, ..] => "Telnet",
        [0x20, 2, 0 | 1, 0..=5, ..] => "MQTT",
        _ => return None,
    })
}

/// Protocols of lines.
fn in_text(bytes: &[u8]) -> Option<&'static str> {
    let contains = |word: &[u8]| bytes.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word));
    let begins = |word: &[u8]| bytes.get(..word.len()).is_some_and(|part| part.eq_ignore_ascii_case(word));
    match bytes {
        // Replies of RFC 5321, RFC 959 and RFC 3977 when a connection begins, or after a command
        // that is none.
        [b'2', b'2', b'0' | b'1', b' ' | b'-', ..]
        | [b'4', b'2', b'1', b' ' | b'-', ..]
        | [b'5', b'0', b'0'..=b'4', b' ' | b'-', ..]
        | [b'5', b'3', b'0', b' ' | b'-', ..]
        | [b'5', b'5', b'0' | b'4', b' ' | b'-', ..] => Some(if contains(b"SMTP") || contains(b"LMTP") {
            "SMTP"
        } else if contains(b"FTP") {
            "FTP"
        } else {
            "SMTP or FTP"
        }),
        [b'2', b'0', b'0' | b'1', b' ', ..] if contains(b"NNTP") || contains(b"news") => Some("NNTP"),
        [b'<', ..] if begins(b"<!doctype html") || begins(b"<html") || begins(b"<head") => {
            Some("HTTP/0.9 (a page without a head)")
        }
        [b'<', ..] if begins(b"<?xml") => Some(if contains(b"jabber") { "XMPP" } else { "XML" }),
        [b':', ..] if contains(b" NOTICE ") || contains(b" 451 ") => Some("IRC"),
        // RFC 1436: the type of an item, its text, a selector, a host and a port, with tabs
        // between.
        [b'0'..=b'9' | b'i' | b'g' | b'h' | b'I' | b'T' | b'+', ..] => {
            let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
            let tabs = line.iter().filter(|byte| **byte == b'\t').count();
            (tabs >= 3).then_some("Gopher")
        }
        _ => None,
    }
}

/// What an HTTP server says that was asked without TLS on a port for TLS, in the first bytes behind
/// the head of a 400: nginx, Apache, Go, Tomcat, OpenSSL.
const ASKED_WITHOUT_TLS: &[&[u8]] = &[
    b"plain HTTP request was sent to HTTPS port",
    b"speaking plain HTTP to an SSL-enabled server port",
    b"Client sent an HTTP request to an HTTPS server",
    b"This combination of host and port requires TLS",
];

/// Whether the body of an answer says that the port is one for HTTPS. `body` is what has come of
/// it; its first 2,048 bytes are looked at.
#[must_use]
pub fn wants_https(body: &[u8]) -> bool {
    let body = &body[..body.len().min(2048)];
    ASKED_WITHOUT_TLS.iter().any(|words| body.windows(words.len()).any(|part| part == *words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn is(name: &str, bytes: &[u8]) {
        assert_eq!(recognise(bytes), Some(name), "{}", crate::quote(bytes));
    }

    #[test]
    fn protocols_are_recognised_by_their_first_bytes() {
        is("TLS", &[0x15, 3, 1, 0, 2, 2, 0x16]);
        is("TLS", &[0x16, 3, 3, 0, 0x7a, 2]);
        // A SETTINGS frame of grpc-go, one of nghttpd, a GOAWAY.
        is("HTTP/2", &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0x40, 0]);
        is("HTTP/2", &[0, 0, 0x12, 4, 0, 0, 0, 0, 0, 0, 3]);
        is("HTTP/2", &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        is("SSH", b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n");
        is("SSH", b"SSH-1.99-Cisco-1.25\n");
        is("HTTP", b"HTTP/1.1 400 Bad Request\r\n");
        is("RTSP", b"RTSP/1.0 400 Bad Request\r\n");
        is("SIP", b"SIP/2.0 400 Bad Request\r\n");
        is("SMTP", b"220 mail.example ESMTP Postfix\r\n");
        is("SMTP", b"554 5.7.1 No SMTP service here\r\n");
        is("FTP", b"220 (vsFTPd 3.0.3)\r\n");
        is("FTP", b"220-FileZilla Server ftp\r\n");
        is("SMTP or FTP", b"220 ready\r\n");
        is("NNTP", b"200 news.example ready\r\n");
        is("POP3", b"+OK Dovecot ready.\r\n");
        is("IMAP", b"* OK [CAPABILITY IMAP4rev1] ready.\r\n");
        is("Redis", b"-ERR wrong number of arguments for 'get' command\r\n");
        is("Redis", b"-NOAUTH Authentication required.\r\n");
        is("Redis or POP3", b"-ERR something\r\n");
        is("memcached", b"ERROR\r\nERROR\r\n");
        is("MySQL", b"J\0\0\0\n8.0.36\0\x08\0\0\0");
        is("MySQL", b"E\0\0\0\xffj\x04Host '192.0.2.1' is not allowed");
        is("MySQL", b"\x10\0\0\x01\xff\x13\x04Bad handshake");
        is("PostgreSQL", b"E\0\0\0\x85SFATAL\0VFATAL\0C0A000\0");
        is("PostgreSQL", b"EFATAL:  unsupported frontend protocol");
        is("LDAP", &[0x30, 0x0c, 2, 1, 0, 0x78, 7]);
        is("HTTP/0.9 (a page without a head)", b"<!DOCTYPE html>\n<html>");
        is("HTTP/0.9 (a page without a head)", b"<HTML><BODY>ok");
        is("Gopher", b"3'GET / HTTP/1.1' does not exist\t\terror.host\t1\r\n");
        is("IRC", b":irc.example NOTICE * :*** Looking up your hostname\r\n");
        is("AMQP", b"AMQP\0\0\x09\x01");
        is("VNC", b"RFB 003.008\n");
        is("Telnet", &[0xff, 0xfd, 0x18, 0xff, 0xfd, 0x20]);
        is("XMPP", b"<?xml version='1.0'?><stream:stream xmlns='jabber:client'>");
        is("FastCGI", &[1, 11, 0, 0, 0, 8, 0, 0, b'G']);
        is("SNMP", &[0x30, 0x29, 2, 1, 1, 4, 6]);
        is("STUN", &[1, 1, 0, 12, 0x21, 0x12, 0xa4, 0x42, 0]);
    }

    #[test]
    fn ordinary_answers_are_no_protocol() {
        for bytes in [
            &b""[..],
            b"ok",
            b"hello\r\n",
            b"pong",
            b"{\"status\":\"up\"}",
            b"\0\0\0\0",
            b"2",
            b"22",
            b"200 OK\r\n",
        ] {
            assert_eq!(recognise(bytes), None, "{}", crate::quote(bytes));
        }
    }

    #[test]
    fn words_about_a_port_for_https() {
        assert!(wants_https(b"<center>The plain HTTP request was sent to HTTPS port</center>"));
        assert!(wants_https(b"Client sent an HTTP request to an HTTPS server.\n"));
        assert!(wants_https(b"Bad Request\r\nThis combination of host and port requires TLS.\r\n"));
        assert!(!wants_https(b"<html>bad request</html>"));
    }
}
