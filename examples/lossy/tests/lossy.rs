//! The protocol on links that lose, delay and double packets. Each test changes the loopback device
//! of its machine, which is why it has a machine.

mod netem;

use std::error::Error;
use std::io::ErrorKind;
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use example_lossy::{Client, Server};

use netem::{Netem, tc};

type TestResult = Result<(), Box<dyn Error>>;

/// Long enough for any line that can arrive at all.
const AGES: Duration = Duration::from_secs(60);

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("line {number}")).collect()
}

/// Appends lines one after another; returns how long it took.
fn append_all(client: &mut Client, lines: &[String]) -> std::io::Result<Duration> {
    let started = Instant::now();
    lines.iter().try_for_each(|line| client.append(line, AGES))?;
    Ok(started.elapsed())
}

#[banger::test]
fn lines_arrive_once_and_in_order_on_a_link_that_loses_packets() -> TestResult {
    let netem = Netem::on("lo", "loss 20% delay 20ms")?;
    let server = Server::start()?;
    let mut client = Client::new(server.address())?;
    let lines = numbered(40);
    append_all(&mut client, &lines)?;
    // That none of 80 packets is lost happens once in 50 million runs.
    println!("{} lost, {} sent again", netem.dropped()?, client.resent());
    assert!(netem.dropped()? > 0 && client.resent() > 0);
    assert_eq!(server.stop()?.lines, lines);
    Ok(())
}

#[banger::test]
fn a_line_that_arrives_twice_is_written_down_once() -> TestResult {
    let _netem = Netem::on("lo", "duplicate 100%")?;
    let server = Server::start()?;
    let mut client = Client::new(server.address())?;
    let lines = numbered(20);
    append_all(&mut client, &lines)?;
    let log = server.stop()?;
    assert_eq!(log.lines, lines);
    // The last line's copy may be too late to be seen.
    assert!(log.copies >= 19, "{}", log.copies);
    Ok(())
}

#[banger::test]
fn a_dead_link_costs_the_deadline_and_no_more_than_the_line() -> TestResult {
    let server = Server::start()?;
    let mut client = Client::new(server.address())?;
    let netem = Netem::on("lo", "loss 100%")?;
    let (started, deadline) = (Instant::now(), Duration::from_millis(700));
    let error = client.append("lost", deadline).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    assert!(started.elapsed() >= deadline);
    drop(netem);
    client.append("found", AGES)?;
    assert_eq!(server.stop()?.lines, ["found"]);
    Ok(())
}

#[banger::test]
fn a_line_waits_for_the_link_to_come_back() -> TestResult {
    let server = Server::start()?;
    let mut client = Client::new(server.address())?;
    let netem = Netem::on("lo", "loss 100%")?;
    let appending = spawn(move || client.append("patient", AGES));
    while netem.dropped()? < 3 {
        assert!(!appending.is_finished(), "{:?}", appending.join());
        sleep(Duration::from_millis(20));
    }
    drop(netem);
    appending.join().expect("`append` does not panic")?;
    assert_eq!(server.stop()?.lines, ["patient"]);
    Ok(())
}

#[banger::test]
fn nothing_but_the_link_makes_it_slow() -> TestResult {
    let server = Server::start()?;
    let mut client = Client::new(server.address())?;
    let fast = append_all(&mut client, &numbered(20))?;
    let netem = Netem::on("lo", "delay 40ms")?;
    let slow = append_all(&mut client, &numbered(20))?;
    drop(netem);
    println!("{fast:?} on a good link, {slow:?} on a slow one");
    // Each line crosses the link twice: netem takes 1.6 s.
    assert!(slow >= Duration::from_millis(1600), "{slow:?}");
    assert!(fast < slow, "{fast:?}, {slow:?}");
    Ok(())
}

#[banger::test]
fn the_guard_leaves_a_good_link_and_tells_what_tc_said() -> TestResult {
    drop(Netem::on("lo", "loss 1%")?);
    assert!(!tc("qdisc show dev lo")?.contains("netem"));
    let error = Netem::on("lo", "loss heavily").unwrap_err();
    assert!(error.contains("qdisc add dev lo root netem loss heavily"), "{error}");
    assert!(error.contains("Unknown loss parameter: heavily"), "{error}");
    Ok(())
}

/// An ordinary test beside them, on the host: it wants nothing but a socket.
#[test]
fn a_server_that_is_gone_is_told_at_once() -> TestResult {
    let server = Server::start()?;
    let mut client = Client::new(server.address())?;
    client.append("heard", AGES)?;
    assert_eq!(server.stop()?.lines, ["heard"]);
    let error = client.append("unheard", AGES).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
    Ok(())
}
