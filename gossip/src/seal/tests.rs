use proptest::collection::vec;
use proptest::prelude::*;

use super::replay::{MAX_SENDERS, WINDOW};
use super::*;

fn cookie(text: &str) -> Cookie {
    Cookie::new(format!("{text}-0123456789abcdef").as_bytes()).unwrap()
}

fn keys(cluster: &str, cookies: &[&str]) -> ClusterKeys {
    let cookies: Vec<Cookie> = cookies.iter().map(|text| cookie(text)).collect();
    ClusterKeys::derive_at_cost(cluster, &cookies, DerivationCost::CHEAP).unwrap()
}

fn sealer(keys: &ClusterKeys, boot: u8) -> Sealer {
    Sealer::new(keys.tag(), keys.datagram_keys().first(), [boot; 16])
}

fn opener(keys: &ClusterKeys) -> Opener {
    Opener::new(keys.tag(), &keys.datagram_keys())
}

fn seal(sealer: &mut Sealer, plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    sealer.seal(plain, &mut out);
    out
}

#[test]
fn a_second_accepted_cookie_opens_and_a_foreign_one_does_not() {
    let (old, rotating) = (keys("c", &["old"]), keys("c", &["new", "old"]));
    let from_old = seal(&mut sealer(&old, 1), b"hello");
    let from_rotating = seal(&mut sealer(&rotating, 2), b"hello");
    assert_eq!(opener(&rotating).open(&from_old).unwrap(), b"hello");
    assert_eq!(opener(&rotating).open(&from_rotating).unwrap(), b"hello");
    assert_eq!(opener(&old).open(&from_rotating), Err(Rejection::WrongKey));
    assert_eq!(opener(&keys("c", &["other"])).open(&from_old), Err(Rejection::WrongKey));
}

#[test]
fn keys_are_replaced_and_what_is_known_of_replays_and_nonces_stays() {
    let (old, both, new) = (keys("c", &["old"]), keys("c", &["new", "old"]), keys("c", &["new"]));
    let (mut sealer, mut opener) = (sealer(&old, 1), opener(&old));
    let first = seal(&mut sealer, b"x");
    assert_eq!(opener.open(&first).unwrap(), b"x");
    opener.replace_keys(&both.datagram_keys());
    assert_eq!(opener.open(&first), Err(Rejection::Replay));
    assert_eq!(opener.open(&seal(&mut sealer, b"y")).unwrap(), b"y");
    sealer.replace_key(&new.datagram_keys()[0]);
    assert_eq!(opener.open(&seal(&mut sealer, b"z")).unwrap(), b"z");
    opener.replace_keys(&new.datagram_keys());
    assert_eq!(opener.open(&seal(&mut sealer, b"z")).unwrap(), b"z");
    // Back to a key of before: the same nonce under the same key would give the bytes away.
    sealer.replace_key(&old.datagram_keys()[0]);
    assert_ne!(seal(&mut sealer, b"x"), first);
    assert_eq!(opener.open(&seal(&mut sealer, b"x")), Err(Rejection::WrongKey));
}

#[test]
fn another_cluster_is_told_apart_with_and_without_a_cookie() {
    let sealed = seal(&mut sealer(&keys("blue", &["a"]), 1), b"x");
    assert_eq!(opener(&keys("green", &["a"])).open(&sealed), Err(Rejection::OtherCluster));
    let plain = seal(&mut Sealer::new(ClusterTag::new("blue"), None, [0; 16]), b"x");
    assert_eq!(Opener::new(ClusterTag::new("green"), &[]).open(&plain), Err(Rejection::OtherCluster));
    assert_eq!(Opener::new(ClusterTag::new("blue"), &[]).open(&plain).unwrap(), b"x");
}

#[test]
fn a_node_with_a_cookie_and_one_without_refuse_each_other() {
    let keys = keys("c", &["a"]);
    let plain = seal(&mut Sealer::new(keys.tag(), None, [0; 16]), b"x");
    let sealed = seal(&mut sealer(&keys, 1), b"x");
    assert_eq!(opener(&keys).open(&plain), Err(Rejection::Unsealed));
    assert_eq!(Opener::new(keys.tag(), &[]).open(&sealed), Err(Rejection::WrongKey));
}

#[test]
fn the_cluster_name_is_in_the_keys_and_purposes_have_keys_of_their_own() {
    let (blue, green) = (keys("blue", &["a"]), keys("green", &["a"]));
    assert_ne!(blue.link_psks(), green.link_psks());
    assert_ne!(blue.link_psks()[0].as_bytes(), &*blue.datagram_keys()[0].0);
    assert_eq!(blue.link_psks(), keys("blue", &["a"]).link_psks());
}

#[test]
fn a_datagram_opens_once_and_older_ones_only_within_the_window() {
    let keys = keys("c", &["a"]);
    let (mut sealer, mut opener) = (sealer(&keys, 1), opener(&keys));
    let datagrams: Vec<Vec<u8>> = (0..=WINDOW).map(|n| seal(&mut sealer, &n.to_le_bytes())).collect();
    opener.open(&datagrams[WINDOW as usize]).unwrap();
    assert_eq!(opener.open(&datagrams[0]), Err(Rejection::Replay), "just outside the window");
    for datagram in datagrams[1..WINDOW as usize].iter().rev() {
        opener.open(datagram).unwrap();
        assert_eq!(opener.open(datagram), Err(Rejection::Replay));
    }
}

#[test]
fn senders_are_bounded_and_the_longest_idle_one_is_forgotten() {
    let keys = keys("c", &["a"]);
    let mut opener = opener(&keys);
    let datagram = |number: u32| {
        let mut boot = [0; 16];
        boot[..4].copy_from_slice(&number.to_le_bytes());
        seal(&mut Sealer::new(keys.tag(), keys.datagram_keys().first(), boot), b"x")
    };
    for number in 0..MAX_SENDERS as u32 + 1 {
        opener.open(&datagram(number)).unwrap();
    }
    assert_eq!(opener.senders(), MAX_SENDERS);
    assert_eq!(opener.open(&datagram(1)), Err(Rejection::Replay));
    assert!(opener.open(&datagram(0)).is_ok(), "forgotten for the newest one");
}

#[test]
fn cookie_files_are_parsed_and_secrets_are_not_printed() {
    let file = b"\n  first-cookie-0123456789 \r\n\nsecond-cookie-0123456789\n";
    let cookies = Cookie::parse_file(file).unwrap();
    assert_eq!(cookies.len(), 2);
    assert_eq!(cookies[0], Cookie::new(b"first-cookie-0123456789").unwrap());
    assert_eq!(format!("{:?}", cookies[0]), "Cookie(..)");
    assert_eq!(Cookie::parse_file(b" \n"), Err(CookieError::Missing));
    assert_eq!(
        Cookie::parse_file(b"first-cookie-0123456789\nshort"),
        Err(CookieError::TooShort { number: 2, len: 5 })
    );
    assert_eq!(Cookie::parse_file(&b"0123456789abcdef\n".repeat(5)), Err(CookieError::TooMany));
}

#[test]
fn rejections_are_counted_by_reason() {
    let rejections = Rejections::default();
    rejections.count(Rejection::Replay);
    rejections.count(Rejection::Replay);
    rejections.count(Rejection::Fragment);
    assert_eq!(rejections.of(Rejection::Replay), 2);
    assert_eq!(rejections.total(), 3);
    assert!(rejections.by_reason().any(|counted| counted == ("fragment", 1)));
}

#[test]
fn deriving_at_the_standard_cost_takes_a_moment_at_start() {
    let start = std::time::Instant::now();
    let standard = ClusterKeys::derive("c", &[cookie("a")]).unwrap();
    println!("derived in {:?}", start.elapsed());
    assert_ne!(standard.link_psks(), keys("c", &["a"]).link_psks());
}

proptest! {
    #[test]
    fn any_flipped_bit_is_refused(plain in vec(any::<u8>(), 0..200), position in any::<prop::sample::Index>(), bit in 0..8) {
        let keys = keys("c", &["a"]);
        let mut datagram = seal(&mut sealer(&keys, 1), &plain);
        let position = position.index(datagram.len());
        datagram[position] ^= 1_u8 << bit;
        prop_assert!(opener(&keys).open(&datagram).is_err());
    }

    #[test]
    fn truncation_is_refused(plain in vec(any::<u8>(), 0..200), cut in any::<prop::sample::Index>()) {
        let keys = keys("c", &["a"]);
        let datagram = seal(&mut sealer(&keys, 1), &plain);
        prop_assert!(opener(&keys).open(&datagram[..cut.index(datagram.len())]).is_err());
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in vec(any::<u8>(), 0..200), framed in any::<bool>()) {
        let keys = keys("c", &["a"]);
        let mut datagram = seal(&mut sealer(&keys, 1), b"");
        if framed {
            datagram.truncate(12);
            datagram.extend_from_slice(&bytes);
        } else {
            datagram = bytes;
        }
        let mut opener = opener(&keys);
        prop_assert!(opener.open(&datagram).is_err());
        prop_assert_eq!(opener.senders(), 0);
    }

    /// Each datagram of each sender opens exactly once in any order of arrival, as long as it stays in the window.
    #[test]
    fn every_order_within_the_window_opens_each_datagram_once(
        arrivals in vec((0_u8..3, 0_usize..40), 1..300),
    ) {
        let keys = keys("c", &["a"]);
        let mut opener = opener(&keys);
        let datagrams: Vec<Vec<Vec<u8>>> = (0..3).map(|boot| {
            let mut sealer = sealer(&keys, boot);
            (0..40_u8).map(|n| seal(&mut sealer, &[boot, n])).collect()
        }).collect();
        let mut opened = std::collections::HashSet::new();
        for (boot, n) in arrivals {
            let result = opener.open(&datagrams[boot as usize][n]);
            if opened.insert((boot, n)) {
                prop_assert_eq!(result, Ok(vec![boot, n as u8]));
            } else {
                prop_assert_eq!(result, Err(Rejection::Replay));
            }
        }
    }
}
