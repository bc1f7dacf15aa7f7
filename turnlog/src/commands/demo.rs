//! `turnlog demo`: a conversation sent to a running system, the webhook that ends it, and their way to log, table and feed.

mod caller;
mod feed;
mod script;
mod table;
mod webhook;

use std::time::{Duration, Instant};

use serde_json::Value;

use self::caller::Caller;
use self::feed::Feed;
use self::script::{LAST_HEARD, MISSED, SCRIPT, Turn};
use self::table::Table;
use crate::failure::Failure;
use crate::instance::Instance;
use crate::target::Target;

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The pause after each turn, so that it can be read.
const PAUSE: Duration = Duration::from_millis(350);

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    #[command(flatten)]
    target: Target,
}

/// When one turn got where, from the start of its POST.
struct Times {
    acknowledged: Duration,
    in_table: Duration,
    on_feed: Duration,
}

/// Runs the command.
pub(crate) async fn run(args: DemoArgs) -> Result<(), Failure> {
    let instance = args.target.instance()?.ok_or_else(|| {
        Failure::new(
            "no turnlog up runs on .turnlog: start one (make up), or name its folder with --data-dir",
        )
    })?;
    tokio::time::timeout(PATIENCE, play(&instance)).await.unwrap_or_else(|_| {
        Err(Failure::new(format!("the demo was not through after {PATIENCE:?}: see turnlog status")))
    })
}

async fn play(instance: &Instance) -> Result<(), Failure> {
    let caller = Caller::log_in(instance).await?;
    let mut table = Table::open(&instance.database_url).await?;
    println!(
        "{}: participant {}, conversation {}\n",
        instance.base_url, caller.participant, caller.conversation
    );
    let [opening, turns @ ..] = &SCRIPT;
    let mut feed = open(&caller, &mut table, opening).await?;
    let mut times = Vec::new();
    for turn in turns {
        tokio::time::sleep(PAUSE).await;
        times.push(follow(&caller, &mut table, &mut feed, turn).await?);
    }
    let reported = end(instance, &caller, &mut feed).await?;
    table.print_report(&caller.conversation, reported).await?;
    table.print(&caller.conversation).await?;
    summarise(&times);
    Ok(())
}

/// The first turn makes the conversation; only then is there a feed of it.
async fn open(caller: &Caller, table: &mut Table, turn: &Turn) -> Result<Feed, Failure> {
    let started = Instant::now();
    print_turn(turn);
    let receipt = caller.send(turn).await?;
    let acknowledged = started.elapsed();
    table.wait_for(receipt.message_id, turn.content).await?;
    println!(
        "{:14}log {} after {}, table after {}",
        "",
        receipt.sequence,
        ms(acknowledged),
        ms(started.elapsed())
    );
    let joining = Instant::now();
    let mut feed = Feed::open(&caller.stream_url(), caller.token()).await?;
    let frame = feed.wait_for("initial", |_| true).await?;
    println!("{:14}feed opened in {}: {} [{}]", "", ms(frame.at - joining), frame.event, frame.id);
    Ok(feed)
}

async fn follow(caller: &Caller, table: &mut Table, feed: &mut Feed, turn: &Turn) -> Result<Times, Failure> {
    print_turn(turn);
    let started = Instant::now();
    let sending = async {
        let receipt = caller.send(turn).await?;
        let acknowledged = started.elapsed();
        table.wait_for(receipt.message_id, turn.content).await?;
        Ok((receipt, acknowledged, started.elapsed()))
    };
    let event = if turn.corrects { "message_corrected" } else { "new_messages" };
    let showing = feed.wait_for(event, |data| data.to_string().contains(&caller::message_id(turn)));
    let ((receipt, acknowledged, in_table), frame) = tokio::try_join!(sending, showing)?;
    let times = Times { acknowledged, in_table, on_feed: frame.at - started };
    let kept = if turn.corrects { format!(" (row {} stays)", receipt.message_id) } else { String::new() };
    println!(
        "{:14}log {} after {}, table after {}, feed after {}: {} [{}]{kept}",
        "",
        receipt.sequence,
        ms(times.acknowledged),
        ms(times.in_table),
        ms(times.on_feed),
        frame.event,
        frame.id
    );
    Ok(times)
}

/// The signed webhook after the call: it completes what was synced. Returns where the report stands in the log.
async fn end(instance: &Instance, caller: &Caller, feed: &mut Feed) -> Result<u64, Failure> {
    tokio::time::sleep(PAUSE).await;
    let webhook = webhook::post_call(&caller.conversation, &instance.elevenlabs_webhook_secret);
    println!("\nElevenLabs' webhook, {} bytes, {}…\n", webhook.body.len(), &webhook.signature[..24]);
    let started = Instant::now();
    let sending = async { Ok((caller.deliver(webhook).await?, started.elapsed())) };
    // In the order of the transcript: what was cut short, then what cut it short.
    let showing = async {
        let corrected = feed.wait_for("message_corrected", says(LAST_HEARD.content)).await?;
        Ok([corrected, feed.wait_for("new_messages", says(MISSED.content)).await?])
    };
    let ((sequence, acknowledged), frames) = tokio::try_join!(sending, showing)?;
    println!("{:14}log {sequence} after {}", "", ms(acknowledged));
    for (frame, turn) in frames.iter().zip([&LAST_HEARD, &MISSED]) {
        let (event, id) = (&frame.event, &frame.id);
        println!("{:14}feed after {}: {event} [{id}]", "", ms(frame.at - started));
        println!("{:14}{:<10} {}", "", turn.role, turn.content);
    }
    Ok(sequence)
}

/// Whether a frame shows a message of this content.
fn says(content: &str) -> impl Fn(&Value) -> bool {
    move |data| {
        let messages = data["messages"].as_array().map_or(&[][..], Vec::as_slice);
        messages.iter().chain([&data["message"]]).any(|message| message["content"] == content)
    }
}

fn print_turn(turn: &Turn) {
    let mark = if turn.corrects { "interrupted, so corrected to: " } else { "" };
    println!("{:>2} {:<10} {mark}{}", turn.number, turn.role, turn.content);
}

fn summarise(times: &[Times]) {
    let median = |pick: fn(&Times) -> Duration| {
        let mut sorted: Vec<_> = times.iter().map(pick).collect();
        sorted.sort();
        ms(sorted[sorted.len() / 2])
    };
    println!(
        "\nFrom POST, in the middle of {}: acknowledged (on disk) after {}, in the table after {}, on the feed after {}.",
        times.len(),
        median(|times| times.acknowledged),
        median(|times| times.in_table),
        median(|times| times.on_feed)
    );
}

fn ms(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1_000.0)
}
