//! `cargo xtask demo`: the main job on a copy of specs/, told as a story.
//!
//! The chapters are in `chapters/`, in the order of [`CHAPTERS`]. Each shows the commands that a
//! user would type and what they print, and then verifies by other means - JSON, /proc, the
//! agents themselves - that what was shown is so. The first thing that is not ends the story
//! with an error. Nothing outside target/demo is touched, and nothing is left running.

mod agents;
mod chapters;
mod copy;
mod ground;
mod http;
mod scene;
mod story;
mod view;

use std::{path::PathBuf, time::Instant};

use anyhow::bail;

use crate::{process, project};
use chapters::{CHAPTERS, Memory};
use scene::Scene;
use story::Story;

pub use ground::possible;
pub use story::TALLY;

/// Lines of events and of the daemon's log that are shown when something went wrong.
const TAIL_LINES: usize = 12;

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    /// An osmoda that is built already (default: build it now, dev profile).
    #[arg(long)]
    osmoda: Option<PathBuf>,
}

/// Tells the story.
///
/// # Errors
/// Something that it tells of is not so.
pub fn run(args: &Args) -> anyhow::Result<()> {
    process::adopt_orphans()?;
    process::end_descendants_on_signal()?;
    let story = Story::on_stdout();
    let ground = ground::prepare(&story, args.osmoda.as_deref())?;
    introduce(&story, &ground);
    let start = Instant::now();
    let mut scene = Scene::new(story, ground);
    let told = tell(&mut scene);
    let tally = scene.story.tally();
    if let Err(error) = &told {
        process::give_way_to_signal();
        scene.story.failed(&format!("{error:#}"));
        show_remains(&scene);
    }
    let program = shown(&scene.ground.program);
    let ended = scene.end();
    if told.is_err() {
        bail!("the demo is not as it should be; its files are in target/demo");
    }
    ended?;
    println!("\n{tally} in {:.1} s", start.elapsed().as_secs_f64());
    println!("play on with: {program} run specs/");
    Ok(())
}

fn tell(scene: &mut Scene) -> anyhow::Result<()> {
    let mut memory = Memory::default();
    for (title, chapter) in CHAPTERS {
        scene.story.chapter(title);
        chapter(scene, &mut memory)?;
    }
    Ok(())
}

fn introduce(story: &Story, ground: &ground::Ground) {
    story.says("Everything happens in target/demo, on a copy of specs/. To look around meanwhile:");
    story.command(&format!(
        "export OSMODA_STATE_DIR={} OSMODA_RUNTIME_DIR={}",
        ground.state.display(),
        ground.runtime.display()
    ));
    story.command(&format!("alias osmoda={}", ground.program.display()));
}

/// What helps to find out what went wrong, as far as it is there.
fn show_remains(scene: &Scene) {
    let events = scene.run(&["events", "-n", "1000"]);
    let events = events.map(|ran| ran.out).unwrap_or_default();
    let texts = [
        ("events", events),
        ("lines of the daemon's log", scene.daemon_log()),
    ];
    for (what, text) in texts.iter().filter(|(_, text)| !text.is_empty()) {
        scene.story.says(&format!("The last {what}:"));
        scene.story.output(&tail(text), TAIL_LINES);
    }
}

/// The program's path as it is typed at the root of the checkout.
fn shown(program: &std::path::Path) -> String {
    let path = program.strip_prefix(project::root()).unwrap_or(program);
    path.display().to_string()
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}
