//! Name resolution: which name servers are queried, how often, and the effect of every fault of a name server.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::common::{Dns, Kind, Program, Reply, Run, Server, dns, fetchimg};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// An address in a network without hosts: 6bone returned it, and it is not one of the ranges that are refused.
const NOWHERE: IpAddr = IpAddr::V6(Ipv6Addr::new(0x3FFE, 0, 0, 0, 0, 0, 0, 1));

/// A run with this name server.
fn asking(server: &str, urls: impl IntoIterator<Item = impl AsRef<str>>) -> Program {
    fetchimg().lines(urls).args(["--dns-servers", server])
}

/// A run of one image from one host.
fn one(web: &Server, dns: &Dns) -> Program {
    asking(&dns.address(), [web.url_for_host("a.test", "/png/300/a.png")])
}

#[track_caller]
fn is_saved_at_once(run: &Run, web: &Server) {
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.file("a.png"), web.body("/png/300/a.png"), "{run}");
    assert_eq!(run.record(0)["attempts"], 1, "{run}");
}

/// The record of a row that failed because of its name, with these words.
#[track_caller]
fn is_unresolved(run: &Run, words: &str) {
    assert_eq!(run.status, Some(1), "{run}");
    let record = run.record(0);
    assert_eq!((record["error"].as_str(), record["retryable"].as_bool()), (Some("dns"), Some(true)), "{run}");
    let message = record["message"].as_str().expect("a message");
    assert!(message.starts_with("cannot resolve a.test: ") && message.contains(words), "{message}\n{run}");
}

#[test]
fn a_name_is_asked_for_once_however_many_want_it() {
    let web = Server::start();
    let dns = Dns::start(|_| Reply::Slow(Duration::from_millis(50), Box::new(Reply::here())));
    let urls = (0..100).map(|index| web.url_for_host("Images.Test", &format!("/png/300/{index}.png")));
    let run = asking(&dns.address(), urls).args(["--per-host", "100"]).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.files().len(), 100, "{run}");
    assert_eq!(dns.times("images.test", Kind::A), 1, "{run}");
    assert_eq!(dns.times("images.test", Kind::Aaaa), 1, "{run}");
    assert_eq!(dns.total(), 2, "{run}");
}

#[test]
fn the_report_tells_how_long_names_took_and_what_helps() {
    let web = Server::start();
    let dns = Dns::start(|_| Reply::Slow(Duration::from_millis(300), Box::new(Reply::here())));
    let urls = (0..4).map(|index| web.url_for_host(&format!("h{index}.test"), &format!("/png/300/{index}.png")));
    let run = asking(&dns.address(), urls).arg("--json").run();
    assert_eq!(run.status, Some(0), "{run}");
    let report = run.report();
    assert!(report["modes"][0]["lookup_seconds"].as_f64().is_some_and(|seconds| seconds >= 4.0 * 0.3), "{report}");
    let advice = report["advice"][0].as_str().unwrap_or_default();
    assert!(advice.starts_with("Looking host names up took"), "{report}");
}

#[test]
fn queries_wait_for_their_turn_and_no_deadline_counts_that() {
    let web = Server::start();
    let dns = Dns::start(|_| Reply::Slow(Duration::from_millis(1200), Box::new(Reply::here())));
    // 800 queries, 128 at a time, take 8.4 s: longer than a connection or silence may take. A single one may be late by
    // several seconds, as it is on a busy machine.
    let urls = (0..400).map(|index| web.url_for_host(&format!("h{index}.test"), &format!("/png/300/{index}.png")));
    let run = asking(&dns.address(), urls)
        .args(["--connect-timeout", "6", "--stall-timeout", "6", "--retries", "0", "-j", "400"])
        .run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.files().len(), 400, "{run}");
    assert!((65..=128).contains(&dns.peak_in_flight()), "{} at once\n{run}", dns.peak_in_flight());
    assert!(run.elapsed > Duration::from_secs(8), "{run}");
}

#[test]
fn two_thousand_names_are_resolved_and_none_is_lost() {
    let web = Server::start();
    let dns = Dns::here();
    let urls = (0..2000).map(|index| web.url_for_host(&format!("h{index}.test"), &format!("/png/100/{index}.png")));
    let run = asking(&dns.address(), urls).args(["--retries", "0"]).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.files().len(), 2000, "{run}");
    assert!((0..2000).all(|index| dns.times(&format!("h{index}.test"), Kind::A) >= 1), "{run}");
    assert!(dns.peak_in_flight() <= 128, "{run}");
}

#[test]
fn an_answer_that_must_not_be_kept_is_kept_for_a_while() {
    let web = Server::start();
    let dns = Dns::start(|_| Reply::Addresses(vec![HERE], 0));
    let urls = (0..5).map(|index| web.url_for_host("a.test", &format!("/close-after/300/{index}.png")));
    let run = asking(&dns.address(), urls).arg("--sequential").run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(web.connections(), 5, "every image needs a look at the name\n{run}");
    assert_eq!((dns.times("a.test", Kind::A), dns.times("a.test", Kind::Aaaa)), (1, 1), "{run}");
}

#[test]
fn that_there_is_no_name_or_no_address_is_kept_too() {
    for (reply, words) in
        [(Reply::NoName(0), "no such name (NXDOMAIN)"), (Reply::NoRecords(60), "the name has no address")]
    {
        let dns = Dns::start(move |_| reply.clone());
        let urls = (0..5).map(|index| format!("http://a.test/{index}.png"));
        let run = asking(&dns.address(), urls).args(["--sequential", "--retries", "2", "--retry-wait", "0.01"]).run();
        is_unresolved(&run, words);
        assert!((0..5).all(|index| run.record(index)["attempts"] == 3), "{run}");
        assert_eq!((dns.times("a.test", Kind::A), dns.times("a.test", Kind::Aaaa)), (1, 1), "{run}");
    }
}

#[test]
fn a_failure_of_the_name_server_is_not_kept() {
    let web = Server::start();
    let dns = Dns::start(|question| if question.times == 1 { Reply::Code(2) } else { Reply::here() });
    let run = one(&web, &dns).args(["--retry-wait", "0.01"]).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.record(0)["attempts"], 2, "{run}");
    assert_eq!(dns.times("a.test", Kind::A), 2, "{run}");
}

#[test]
fn what_the_name_server_said_is_told_in_words() {
    for (code, words) in [
        (2, "the name server ADDRESS failed (SERVFAIL)"),
        (5, "the name server ADDRESS refused to answer (REFUSED)"),
        (4, "the name server ADDRESS failed (code 4)"),
    ] {
        let dns = Dns::start(move |_| Reply::Code(code));
        let run = asking(&dns.address(), ["http://a.test/a.png"]).args(["--retries", "0"]).run();
        is_unresolved(&run, &words.replace("ADDRESS", &dns.address()));
        assert!(run.stderr.contains("check the host name and the network"), "{run}");
        assert_eq!(run.stderr.lines().filter(|line| line.contains("WARN")).count(), 0, "{run}");
    }
}

#[test]
fn packets_that_were_lost_are_sent_again() {
    let web = Server::start();
    let dns = Dns::start(|question| if question.times <= 2 { Reply::Silence } else { Reply::here() });
    let run = one(&web, &dns).run();
    is_saved_at_once(&run, &web);
    assert_eq!(dns.times("a.test", Kind::A), 3, "{run}");
    assert!(run.elapsed < Duration::from_secs(4), "without waiting for the timeout\n{run}");
}

#[test]
fn nonsense_and_forgeries_are_no_answers() {
    let web = Server::start();
    let dns = Dns::start(|_| Reply::Forged(Box::new(Reply::address([192, 0, 2, 1])), Box::new(Reply::here())));
    let run = one(&web, &dns).args(["--connect-timeout", "3"]).run();
    is_saved_at_once(&run, &web);
    assert_eq!(run.stderr.lines().filter(|line| line.contains("WARN")).count(), 0, "{run}");

    let dns = Dns::start(|_| Reply::Garbage);
    let run = one(&web, &dns).args(["--retries", "0"]).run();
    is_unresolved(&run, &format!("the name server {} gave no valid answer", dns.address()));
}

#[test]
fn long_answers_come_over_tcp() {
    let web = Server::start();
    let dns = Dns::start(|question| {
        // Only the first ones are tried, because trying all would leave too little time for each.
        let many = (0..600_u16).map(|index| IpAddr::from([203, 0, 113, index.to_be_bytes()[1]]));
        if question.tcp { Reply::Addresses([HERE].into_iter().chain(many).collect(), 60) } else { Reply::Truncated }
    });
    let run = one(&web, &dns).args(["-4", "--connect-timeout", "3"]).run();
    is_saved_at_once(&run, &web);
    assert_eq!((dns.over_tcp(), dns.total()), (1, 2), "{run}");
}

#[test]
fn many_long_answers_come_over_few_connections() {
    let web = Server::start();
    let dns = Dns::start(|question| if question.tcp { Reply::here() } else { Reply::Truncated });
    let urls = (0..300).map(|index| web.url_for_host(&format!("h{index}.test"), &format!("/png/100/{index}.png")));
    let run = asking(&dns.address(), urls).args(["--retries", "0"]).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.files().len(), 300, "{run}");
    assert!(dns.over_tcp() >= 600 && dns.peak_in_flight() <= 128, "{run}");
}

#[test]
fn aliases_are_followed_but_not_in_circles() {
    let web = Server::start();
    let alias = |from: &str, to: &str, then| Reply::Alias(from.into(), to.into(), Box::new(then));
    // The whole chain in one answer, and a chain of which every link has to be asked for.
    let whole =
        Dns::start(move |_| alias("a.test", "b.test", alias("b.test", "c.test", Reply::Addresses(vec![HERE], 60))));
    let links = Dns::start(move |question| match &*question.name {
        "a.test" => alias("a.test", "b.test", Reply::Silence),
        "b.test" => alias("b.test", "c.test", Reply::Silence),
        _ => Reply::here(),
    });
    for dns in [whole, links] {
        is_saved_at_once(&one(&web, &dns).run(), &web);
    }
    let circle = Dns::start(move |question| match &*question.name {
        "a.test" => alias("a.test", "b.test", Reply::Silence),
        _ => alias("b.test", "a.test", Reply::Silence),
    });
    let run = one(&web, &circle).args(["--retries", "0"]).run();
    is_unresolved(&run, "the name has no address");
    assert!(circle.total() <= 40, "{} queries\n{run}", circle.total());
}

#[test]
fn a_server_that_keeps_silent_is_passed_over_and_then_left_alone() {
    let web = Server::start();
    let dns = Dns::here();
    let (socket, silent) = dns::silent();
    let urls = (0..200).map(|index| web.url_for_host(&format!("h{index}.test"), &format!("/png/100/{index}.png")));
    let run = asking(&format!("{silent},{}", dns.address()), urls)
        .args(["--retries", "0"])
        .env("RES_OPTIONS", "timeout:4")
        .run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.files().len(), 200, "{run}");
    // Only the queries in flight when the server was found silent, each sent three times; not all 400.
    let packets = dns::packets(&socket);
    assert!((3..=128 * 3).contains(&packets), "{packets} packets\n{run}");
}

#[test]
fn an_answer_that_takes_longer_than_a_query_may_is_heard() {
    let web = Server::start();
    let slow = || Dns::start(|_| Reply::Slow(Duration::from_millis(1300), Box::new(Reply::here())));
    let failing = Dns::start(|_| Reply::Code(2));
    let (_socket, silent) = dns::silent();
    let (one, two, three) = (slow(), slow(), slow());
    for (servers, options) in [
        (one.address(), "timeout:1"),
        (format!("{},{silent}", two.address()), "timeout:1 attempts:1"),
        (format!("{},{}", three.address(), failing.address()), "timeout:1 attempts:3"),
    ] {
        let run = asking(&servers, [web.url_for_host("a.test", "/png/300/a.png")]);
        is_saved_at_once(&run.args(["--retries", "0"]).env("RES_OPTIONS", options).run(), &web);
    }
}

#[test]
fn a_server_that_is_not_there_or_fails_is_passed_over_at_once() {
    let web = Server::start();
    let good = Dns::here();
    let failing = Dns::start(|_| Reply::Code(2));
    let (socket, gone) = dns::silent();
    drop(socket);
    for bad in [&gone, &failing.address()] {
        let run = asking(&format!("{bad},{}", good.address()), [web.url_for_host("a.test", "/png/300/a.png")]).run();
        is_saved_at_once(&run, &web);
        assert!(run.elapsed < Duration::from_secs(4), "{run}");
    }
}

#[test]
fn without_any_answer_the_rows_fail_in_time() {
    let (socket, silent) = dns::silent();
    let urls = (0..6).map(|index| format!("http://{}.test/{index}.png", if index == 0 { "a" } else { "b" }));
    let run = asking(&silent, urls)
        .args(["--retries", "1", "--retry-wait", "0.01"])
        .env("RES_OPTIONS", "timeout:1 attempts:4")
        .run();
    is_unresolved(&run, &format!("no answer from the name server {silent} in time"));
    assert_eq!(run.records().len(), 6, "{run}");
    // Two tries, each with four queries of a second.
    assert!((4..12).contains(&run.elapsed.as_secs()), "{run}");

    // A shorter time for the connection applies to the name, too.
    let run = asking(&silent, ["http://a.test/a.png"]).args(["--retries", "0", "--connect-timeout", "0.3"]).run();
    is_unresolved(&run, &format!("no answer from the name server {silent} in time"));
    assert!(run.elapsed < Duration::from_secs(3), "{run}");

    drop(socket);
    let run = asking(&silent, ["http://a.test/a.png"]).args(["--retries", "0"]).run();
    is_unresolved(&run, &format!("cannot reach the name server {silent}"));
    assert!(run.elapsed < Duration::from_secs(3), "{run}");
}

#[test]
fn a_connect_timeout_that_is_given_is_the_time_for_names() {
    let web = Server::start();
    let slow = || Dns::start(|_| Reply::Slow(Duration::from_millis(2500), Box::new(Reply::here())));
    let failing = Dns::start(|_| Reply::Code(2));
    let (_socket, silent) = dns::silent();
    let (one, two, three) = (slow(), slow(), slow());
    let url = || [web.url_for_host("a.test", "/png/300/a.png")];
    for servers in
        [one.address(), format!("{},{silent}", two.address()), format!("{},{}", three.address(), failing.address())]
    {
        let run = asking(&servers, url()).args(["--retries", "0"]).env("RES_OPTIONS", "timeout:1 attempts:1");
        is_saved_at_once(&run.args(["--connect-timeout", "20"]).run(), &web);
    }
    // Otherwise resolv.conf says how long that is, and never longer than the time for a connection.
    let dns = Dns::start(|_| Reply::Slow(Duration::from_secs(4), Box::new(Reply::here())));
    for (arguments, seconds) in [(&[][..], 1..3), (&["--connect-timeout", "2"], 2..4)] {
        let run = asking(&dns.address(), url()).args(["--retries", "0"]).args(arguments);
        let run = run.env("RES_OPTIONS", "timeout:1 attempts:1").run();
        is_unresolved(&run, "in time");
        assert!(seconds.contains(&run.elapsed.as_secs()), "{run}");
    }
}

#[test]
fn an_ipv6_address_that_leads_nowhere_costs_little() {
    // Addresses where nothing listens, and addresses that never answer.
    for nowhere in ["::1", "2001:db8::1", "100::1"] {
        let web = Server::start();
        let v6 = nowhere.parse().expect("an address");
        let dns = Dns::start(move |_| Reply::Addresses(vec![v6, HERE], 60));
        let run = one(&web, &dns).run();
        is_saved_at_once(&run, &web);
        assert!(run.elapsed < Duration::from_secs(4), "{nowhere}\n{run}");
    }
}

#[test]
fn one_family_of_addresses_does_not_wait_long_for_the_other() {
    let web = Server::start();
    for reply in [Reply::Silence, Reply::Code(2), Reply::NoName(60), Reply::Garbage] {
        let shown = format!("{reply:?}");
        let dns = Dns::start(move |question| if question.kind == Kind::Aaaa { reply.clone() } else { Reply::here() });
        let run = one(&web, &dns).run();
        is_saved_at_once(&run, &web);
        assert!(run.elapsed < Duration::from_secs(3), "{shown}\n{run}");
    }
}

#[test]
fn one_family_is_asked_for_alone_when_the_other_is_not_wanted() {
    let web = Server::start();
    let dns = Dns::here();
    is_saved_at_once(&one(&web, &dns).arg("-4").run(), &web);
    assert_eq!((dns.times("a.test", Kind::A), dns.times("a.test", Kind::Aaaa)), (1, 0));
    let run = one(&web, &dns).args(["-6", "--retries", "0"]).run();
    is_unresolved(&run, "the name has no IPv6 address");
    assert_eq!((dns.times("a.test", Kind::A), dns.times("a.test", Kind::Aaaa)), (1, 1), "{run}");
}

#[test]
fn a_name_that_changes_to_a_private_address_is_refused() {
    let web = Server::start();
    let inwards = Dns::here();
    let run = one(&web, &inwards).arg("--public-only").run();
    assert_eq!((run.status, run.record(0)["error"].as_str()), (Some(1), Some("forbidden_address")), "{run}");

    // A public and a private address at once: only the public one is tried, where no host answers.
    let both = Dns::start(|_| Reply::Addresses(vec![NOWHERE, HERE], 60));
    let few = ["--public-only", "--connect-timeout", "0.3", "--retries", "1"];
    let run = one(&web, &both).args(few).args(["--retry-wait", "0.01"]).run();
    assert_eq!(run.status, Some(1), "{run}");
    assert!(matches!(run.record(0)["error"].as_str(), Some("connect" | "timeout")), "{run}");

    // A public address first, a private one for the next connection.
    let turning = Dns::start(|question| match (question.times, question.kind) {
        (1, Kind::Aaaa) => Reply::address(NOWHERE),
        (1, _) => Reply::Code(2),
        _ => Reply::here(),
    });
    let run = one(&web, &turning).args(few).args(["--retry-wait", "3"]).run();
    assert_eq!((run.status, run.record(0)["error"].as_str()), (Some(1), Some("forbidden_address")), "{run}");
    assert_eq!(run.record(0)["attempts"], 2, "{run}");
    assert_eq!(web.connections(), 0, "{run}");
}

#[test]
fn this_machine_and_pinned_names_are_not_asked_for() {
    let web = Server::start();
    let dns = Dns::start(|_| Reply::NoName(60));
    let hosts = ["localhost", "LOCALHOST", "images.localhost", "pinned.test"];
    let urls = hosts.iter().zip(0..).map(|(host, index)| web.url_for_host(host, &format!("/png/300/{index}.png")));
    let run = asking(&dns.address(), urls).args(["--resolve", &web.resolve("pinned.test")]).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.files().len(), 4, "{run}");
    assert_eq!(dns.total(), 0, "{run}");
}

#[test]
fn a_proxy_looks_names_up_by_itself() {
    let proxy = Server::start();
    let dns = Dns::start(|_| Reply::NoName(60));
    let run = one(&proxy, &dns).args(["-x", &proxy.url("")]).run();
    assert_eq!((run.status, dns.total()), (Some(0), 0), "{run}");
    let run = one(&proxy, &dns).env("http_proxy", proxy.url("")).run();
    assert_eq!((run.status, dns.total()), (Some(0), 0), "{run}");
    let run =
        one(&proxy, &dns).env("http_proxy", proxy.url("")).env("no_proxy", "a.test").args(["--retries", "0"]).run();
    is_unresolved(&run, "no such name");
}

#[test]
fn search_domains_complete_short_names_alone() {
    let web = Server::start();
    let dns = Dns::start(|question| match &*question.name {
        "images.lan.test" => Reply::here(),
        _ => Reply::NoName(60),
    });
    let urls = ["images", "images.test"].map(|host| web.url_for_host(host, &format!("/png/300/{host}.png")));
    let run = asking(&dns.address(), urls).args(["--retries", "0"]).env("LOCALDOMAIN", "lan.test").run();
    assert_eq!(run.files(), ["images.png"], "{run}");
    assert_eq!(dns.times("images.test.lan.test", Kind::A), 0, "{run}");
    assert_eq!(dns.times("images.test", Kind::A), 1, "{run}");
}

#[test]
fn names_that_dns_does_not_know_are_one_failure() {
    let dns = Dns::here();
    let long = format!("http://{}.test/a.png", "x".repeat(64));
    let run = asking(&dns.address(), [&*long, "http://a..test/b.png"]).args(["--retries", "0"]).run();
    assert_eq!(run.status, Some(1), "{run}");
    assert!(run.records().iter().all(|record| matches!(record["error"].as_str(), Some("dns" | "bad_url"))), "{run}");
    assert_eq!(dns.total(), 0, "{run}");
}

#[test]
fn servers_that_are_no_addresses_are_refused_with_a_sentence() {
    let run = asking("ns.example.org", ["http://a.test/"]).run();
    assert_eq!(run.status, Some(2), "{run}");
    assert!(run.stderr.contains("--dns-servers") && run.stderr.contains("127.0.0.1:5353"), "{run}");
    assert_eq!(run.stderr.lines().count(), 1, "{run}");
}
