use proptest::prelude::*;

use super::*;

fn syn(from: &str, to: &str) -> Syn {
    Syn { from: from.parse().unwrap(), to: to.parse().unwrap(), sequence: 0xfffe_fffe }
}

fn both() -> [Syn; 2] {
    [syn("192.0.2.1:40001", "192.0.2.9:80"), syn("[2001:db8::1]:40001", "[2001:db8::9]:80")]
}

/// The answer of a peer to a SYN, with its checksum.
fn reply(syn: &Syn, flags: u8, acknowledged: u32) -> Vec<u8> {
    let mut segment = vec![0; HEADER];
    segment[0..2].copy_from_slice(&syn.to.port().to_be_bytes());
    segment[2..4].copy_from_slice(&syn.from.port().to_be_bytes());
    segment[8..12].copy_from_slice(&acknowledged.to_be_bytes());
    segment[12] = 5 << 4;
    segment[13] = flags;
    let sum = !folded(sum(&segment) + pseudo_header(syn.to.ip(), syn.from.ip(), HEADER));
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    segment
}

fn answers(syn: &Syn, segment: &[u8]) -> Option<bool> {
    parse(segment).filter(|answer| syn.is_answered_by(answer, segment)).map(|answer| answer.is_reset)
}

#[test]
fn a_syn_is_what_the_standards_say() {
    let [v4, v6] = both();
    let (packet, length) = v4.packet();
    assert_eq!(
        packet[..length],
        [
            0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0, 192, 0, 2, 1, 192, 0, 2, 9, //
            0x9c, 0x41, 0, 80, 0xff, 0xfe, 0xff, 0xfe, 0, 0, 0, 0, 0x60, 2, 0xfa, 0xf0, 0x7c, 0x9b, 0, 0, 2,
            4, 5, 0xb4,
        ]
    );
    let (packet, length) = v6.packet();
    assert_eq!((length, packet[..8].to_vec()), (LONGEST_SYN, vec![0x60, 0, 0, 0, 0, 24, 6, 64]));
    assert_eq!(quoted(&packet), Some(v6));
}

#[test]
fn an_answer_acknowledges_this_very_syn() {
    for syn in both() {
        let right = syn.sequence.wrapping_add(1);
        assert_eq!(answers(&syn, &reply(&syn, SYN | ACK, right)), Some(false));
        for flags in [RST | ACK, RST | SYN | ACK] {
            assert_eq!(answers(&syn, &reply(&syn, flags, right)), Some(true));
        }
        for flags in [SYN | ACK, RST | ACK] {
            for wrong in [syn.sequence, right.wrapping_add(1), 0] {
                assert_eq!(answers(&syn, &reply(&syn, flags, wrong)), None);
            }
        }
        for flags in [0, SYN, RST, RST | SYN, ACK, 0x11] {
            assert_eq!(answers(&syn, &reply(&syn, flags, right)), None, "{flags}");
        }
        let elsewhere = Syn { to: SocketAddr::new(syn.to.ip(), 81), ..syn };
        assert_eq!(answers(&syn, &reply(&elsewhere, SYN | ACK, right)), None);
    }
}

#[test]
fn a_segment_that_no_wire_has_carried_may_have_half_a_checksum() {
    for syn in both() {
        let mut segment = reply(&syn, SYN | ACK, syn.sequence.wrapping_add(1));
        let half = folded(pseudo_header(syn.to.ip(), syn.from.ip(), HEADER));
        segment[16..18].copy_from_slice(&half.to_be_bytes());
        assert_eq!(answers(&syn, &segment), Some(false));
        segment[17] ^= 1;
        assert_eq!(answers(&syn, &segment), None);
    }
}

#[test]
fn eight_bytes_of_a_quotation_name_the_syn() {
    for (syn, header) in both().into_iter().zip([IPV4_HEADER, IPV6_HEADER]) {
        let (packet, _) = syn.packet();
        assert_eq!(quoted(&packet[..header + 8]), Some(syn));
        assert_eq!(quoted(&packet[..header + 7]), None);
        // Of another protocol.
        let mut udp = packet;
        udp[if header == IPV4_HEADER { 9 } else { 6 }] = 17;
        assert_eq!(quoted(&udp), None);
    }
}

proptest! {
    #[test]
    fn one_changed_byte_is_no_answer(at in 0..HEADER, change in 1..=255_u8, v6: bool) {
        let syn = both()[usize::from(v6)];
        let mut segment = reply(&syn, SYN | ACK, syn.sequence.wrapping_add(1));
        segment[at] ^= change;
        prop_assert_eq!(answers(&syn, &segment), None);
    }

    #[test]
    fn no_bytes_are_too_odd(bytes: Vec<u8>) {
        let _ = (parse(&bytes), quoted(&bytes));
    }
}
