use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;

/// Answers each connection with the next of the prepared answers, and tells what was asked.
struct Script {
    url: String,
    asked: mpsc::UnboundedReceiver<String>,
}

enum Answer {
    /// These bytes, then the end of the connection.
    Close(String),
    /// These bytes, then nothing for as long as the client stays.
    Hold(String),
}

fn stream_of(frames: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n{frames}"
    )
}

fn refusal(status: u16, code: &str) -> String {
    let body = format!(r#"{{"status":{status},"code":"{code}","detail":"refused"}}"#);
    let length = body.len();
    format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/problem+json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

fn event(epoch: u32, offset: u64) -> String {
    let id = Cursor::new(runcast_event::Epoch::new(epoch).unwrap(), Offset::new(offset));
    format!(
        "id: {id}\ndata: {{\"offset\":{offset},\"type\":\"my.event\",\"time\":\"2026-11-20T21:16:00.000000Z\"}}\n\n"
    )
}

const END: &str = "event: end\ndata: {\"offset\":9,\"type\":\"run.completed\"}\n\n";

impl Script {
    async fn start(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (tell, asked) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            for answer in answers {
                let (mut socket, _) = listener.accept().await.unwrap();
                tell.send(read_head(&mut socket).await).unwrap();
                match answer {
                    Answer::Close(text) => socket.write_all(text.as_bytes()).await.unwrap(),
                    Answer::Hold(text) => {
                        socket.write_all(text.as_bytes()).await.unwrap();
                        tokio::spawn(async move { while socket.read_u8().await.is_ok() {} });
                    }
                }
            }
        });
        Self { url, asked }
    }

    fn follow(&self, after: &str) -> Follower {
        let client = Client::new(&self.url).unwrap();
        client.follow(&RunId::new("a").unwrap(), after.parse().unwrap())
    }

    /// What was asked for behind which cursor, in order.
    fn cursors(&mut self) -> Vec<String> {
        let heads = std::iter::from_fn(|| self.asked.try_recv().ok());
        heads.map(|head| head.split(['=', ' ']).nth(2).unwrap().to_owned()).collect()
    }
}

async fn read_head(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// All items, shortly.
async fn told(follower: &mut Follower) -> Vec<String> {
    let mut told = Vec::new();
    while let Some(item) = follower.next().await {
        told.push(match item {
            Ok(FollowItem::State(FollowState::Connecting)) => "connecting".to_owned(),
            Ok(FollowItem::State(FollowState::Live)) => "live".to_owned(),
            Ok(FollowItem::State(FollowState::Reconnecting { attempt, .. })) => {
                format!("reconnecting {attempt}")
            }
            Ok(FollowItem::Event(event)) => event.offset.to_string(),
            Ok(FollowItem::Gap(gap)) => format!("gap {} {}", gap.from, gap.reason),
            Ok(FollowItem::End { event_type }) => format!("end {event_type:?}"),
            Ok(FollowItem::Deleted) => "deleted".to_owned(),
            Err(error) => format!("error {}", error.code().unwrap_or_default()),
        });
    }
    told
}

#[tokio::test]
async fn a_dropped_connection_is_made_again_from_the_last_event() {
    let mut script = Script::start(vec![
        Answer::Close(stream_of(&(event(1, 1) + &event(1, 2) + "id: 3\ndata: {\"off"))),
        Answer::Close(String::new()),
        Answer::Close(refusal(503, "too_many_followers")),
        Answer::Close(stream_of(&(event(1, 3) + END))),
    ])
    .await;
    let mut follower = script.follow("0");
    assert_eq!(
        told(&mut follower).await,
        [
            "connecting",
            "live",
            "1",
            "2",
            "reconnecting 1",
            "reconnecting 2",
            "reconnecting 3",
            "live",
            "3",
            "end Some(\"run.completed\")"
        ]
    );
    assert_eq!(script.cursors(), ["0", "2", "2", "2"]);
    assert_eq!(follower.cursor().to_string(), "3");
}

#[tokio::test]
async fn an_event_that_was_told_before_is_not_told_again() {
    let frames = event(1, 4) + &event(1, 5) + &event(1, 4) + &event(1, 6) + END;
    let script = Script::start(vec![Answer::Close(stream_of(&frames))]).await;
    let told = told(&mut script.follow("4")).await;
    assert_eq!(told, ["connecting", "live", "5", "6", "end Some(\"run.completed\")"]);
}

#[tokio::test]
async fn a_hole_or_an_older_epoch_is_a_broken_connection_and_never_told() {
    let mut script = Script::start(vec![
        Answer::Close(stream_of(&(event(2, 5) + &event(2, 7)))),
        Answer::Close(stream_of(&(event(1, 6) + END))),
        Answer::Close(stream_of(&(event(2, 6) + END))),
    ])
    .await;
    let told = told(&mut script.follow("2.4")).await;
    let expected = ["connecting", "live", "5", "reconnecting 1", "live", "reconnecting 2", "live"];
    assert_eq!(told[..7], expected);
    assert_eq!(told[7..], ["6", "end Some(\"run.completed\")"]);
    assert_eq!(script.cursors(), ["2.4", "2.5", "2.5"]);
}

#[tokio::test]
async fn a_gap_is_told_and_the_stream_goes_on_behind_it() {
    let trimmed = "event: gap\ndata: {\"from\":1,\"to\":9,\"reason\":\"trimmed\"}\n\n";
    let damaged = "id: 13\nevent: gap\ndata: {\"from\":11,\"to\":13,\"reason\":\"damaged\"}\n\n";
    let changed =
        "event: gap\ndata: {\"from\":6,\"to\":10,\"reason\":\"epoch_changed\",\"epoch\":2}\n\n";
    let mut script = Script::start(vec![
        Answer::Close(stream_of(&(trimmed.to_owned() + &event(1, 10) + damaged))),
        Answer::Close(stream_of(&(event(1, 14) + changed))),
        Answer::Close(stream_of(&(event(2, 6) + "event: deleted\ndata: {}\n\n"))),
    ])
    .await;
    let told = told(&mut script.follow("0")).await;
    let expected =
        ["connecting", "live", "gap 1 trimmed", "10", "gap 11 damaged", "reconnecting 1"];
    assert_eq!(told[..6], expected);
    let expected = ["live", "14", "gap 6 epoch_changed", "reconnecting 1", "live", "6", "deleted"];
    assert_eq!(told[6..], expected);
    assert_eq!(script.cursors(), ["0", "13", "2.5"]);
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_given_up() {
    let script = Script::start(vec![
        Answer::Hold(stream_of(&event(1, 1))),
        Answer::Hold(String::new()),
        Answer::Close(stream_of(END)),
    ])
    .await;
    let mut follower = script.follow("0");
    follower.silence_max = Duration::from_millis(50);
    let told = told(&mut follower).await;
    assert_eq!(told[..5], ["connecting", "live", "1", "reconnecting 1", "reconnecting 2"]);
    assert_eq!(told[5..], ["live", "end Some(\"run.completed\")"]);
}

#[tokio::test]
async fn nothing_more_comes_behind_the_end_a_deletion_or_a_refusal_for_good() {
    let ended = "HTTP/1.1 204 No Content\r\n\r\n".to_owned();
    let page = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 0\r\n\r\n".to_owned();
    let cases = [
        (ended, "end None"),
        (refusal(410, "run_deleted"), "deleted"),
        (refusal(400, "offset_in_future"), "error offset_in_future"),
        (page, "error "),
    ];
    for (answer, last) in cases {
        let script = Script::start(vec![Answer::Close(answer)]).await;
        assert_eq!(told(&mut script.follow("7")).await, ["connecting", last]);
    }
}

#[tokio::test]
async fn nothing_is_lost_when_waiting_is_given_up() {
    let frames = (1..=200).map(|offset| event(1, offset)).collect::<String>() + END;
    let script = Script::start(vec![Answer::Close(stream_of(&frames))]).await;
    let mut follower = script.follow("0");
    let mut offsets = Vec::new();
    loop {
        // Each wait is given up at the first point where it would have to wait.
        let item = tokio::select! {
            biased;
            item = follower.next() => item,
            () = tokio::task::yield_now() => continue,
        };
        match item {
            Some(Ok(FollowItem::Event(event))) => offsets.push(event.offset.get()),
            Some(_) => {}
            None => break,
        }
    }
    assert_eq!(offsets, (1..=200).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_follower_of_chosen_events_resumes_behind_those_that_it_did_not_choose() {
    let first = format!("{}{}id: 7\n\n", event(1, 1), event(1, 3));
    let second = format!("{}{END}", event(1, 9));
    let mut script =
        Script::start(vec![Answer::Close(stream_of(&first)), Answer::Close(stream_of(&second))])
            .await;
    let choice = Choice {
        types: vec!["step.*".into()],
        steps: vec!["a b&c".into()],
        coalesce: true,
        ..Choice::default()
    };
    let client = Client::new(&script.url).unwrap();
    let run = RunId::new("a").unwrap();
    let mut follower = client.follow_chosen(&run, Cursor::START, choice);
    let mut offsets = Vec::new();
    while let Some(item) = follower.next().await {
        if let FollowItem::Event(event) = item.unwrap() {
            offsets.push(event.offset.get());
        }
    }
    assert_eq!(offsets, [1, 3, 9]);
    let asked: Vec<_> = std::iter::from_fn(|| script.asked.try_recv().ok()).collect();
    for (head, after) in asked.iter().zip([0, 7]) {
        let path = format!("/v1/runs/a/events?after={after}&type=step.*&step=a+b%26c&coalesce=1 ");
        assert!(head.contains(&path), "{head}");
    }
    assert_eq!(asked.len(), 2);
}

#[tokio::test]
async fn a_mailbox_is_followed_with_the_runs_offsets_and_resumed_from_its_cursor() {
    let first = format!("{}id: 12\n\n", event(1, 4));
    let second = format!("{}{}{END}", event(1, 4), event(1, 20));
    let mut script =
        Script::start(vec![Answer::Close(stream_of(&first)), Answer::Close(stream_of(&second))])
            .await;
    let client = Client::new(&script.url).unwrap();
    let mut follower = client.follow_commands(&RunId::new("a").unwrap(), Cursor::START);
    let told = told(&mut follower).await;
    assert_eq!(told.iter().filter(|item| item.parse::<u64>().is_ok()).count(), 2, "{told:?}");
    let asked: Vec<_> = std::iter::from_fn(|| script.asked.try_recv().ok()).collect();
    for (head, after) in asked.iter().zip([0, 12]) {
        let path = format!("GET /v1/runs/a/commands?after={after} ");
        assert!(head.starts_with(&path), "{head}");
    }
    assert_eq!(asked.len(), 2);
}

#[test]
fn what_the_server_has_merged_follows_on_what_it_stands_for() {
    let cursor = |after| Cursor::new(runcast_event::Epoch::FIRST, Offset::new(after));
    let json = r#"{"offset":9,"merged":4,"type":"output","time":"2026-11-20T21:16:00Z"}"#;
    let event = Event::from_json(json.as_bytes()).unwrap();
    assert_eq!(is_next(cursor(5), cursor(9), &event, true), Ok(true));
    assert_eq!(is_next(cursor(9), cursor(9), &event, true), Ok(false));
    for after in [4, 6] {
        assert!(is_next(cursor(after), cursor(9), &event, true).is_err(), "{after}");
    }
}
