//! `osmoda top`: a live view of everything, on the whole terminal.
//!
//! [`model`] is what is known, [`keys`] what keys change in it, [`view`] how it looks: all
//! three are pure. [`feed`] speaks to the daemon, [`screen`] to the terminal. Where to start:
//! [`top`], the loop between them. Invariant: the terminal is given back as it was, however the
//! view ends.

mod feed;
mod history;
mod keys;
mod model;
mod screen;
mod view;

#[cfg(test)]
mod tests;

use std::{io, thread, time::Duration};

use crossterm::event::{self, Event};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc::{self, Receiver, Sender},
    time::{Instant, MissedTickBehavior, interval},
};

use self::{
    feed::Order,
    model::{Model, News, Wish},
    screen::Screen,
    view::Theme,
};
use crate::{
    client::Client,
    failure::{Answer, Failure, Outcome},
    output,
};

/// Time between drawings when nothing happens: countdowns go on.
const DRAW_EVERY: Duration = Duration::from_millis(500);
/// Keys, news and orders that may wait.
const QUEUE_MAX: usize = 64;

/// Shows the view until it is quit or a signal ends it.
pub async fn top(client: Client) -> Outcome {
    let mut screen = Screen::take()?;
    let mut world = World::new(client)?;
    let theme = Theme::new(output::colour());
    let mut model = Model::new();
    loop {
        model.tick(world.begun.elapsed(), crate::show::now());
        screen.draw(|frame| view::draw(&mut model, theme, frame))?;
        let page = model.page.as_ref().map(|page| page.of.clone());
        let wish = match world.next().await {
            Happening::Drawn => None,
            Happening::Ended => Some(Wish::Quit),
            Happening::Stopped => Some(Wish::Suspend),
            Happening::Event(Event::Key(key)) if key.is_press() => model.key(key),
            Happening::Event(_) => None,
            Happening::News(news) => {
                model.take(news);
                None
            }
            Happening::Broken(error) => {
                let message = format!("the terminal cannot be read: {error}");
                return Err(Failure::internal(message));
            }
        };
        match wish {
            None => {}
            Some(Wish::Quit) => return Ok(Answer::Yes),
            Some(Wish::Suspend) => screen.suspend()?,
            Some(Wish::Redraw) => screen.clear()?,
            Some(Wish::Act(act)) => world.order(Order::Act(act)).await,
            Some(Wish::Ask(_)) => {}
        }
        let open = model.page.as_ref().map(|page| page.of.clone());
        if open != page {
            world.order(Order::Open(open)).await;
        }
    }
}

/// Something to react to.
enum Happening {
    Event(Event),
    News(News),
    Drawn,
    Ended,
    Stopped,
    Broken(io::Error),
}

/// Everything that the view waits for.
struct World {
    begun: Instant,
    keys: Receiver<io::Result<Event>>,
    news: Receiver<News>,
    orders: Sender<Order>,
    clock: tokio::time::Interval,
    ends: [Signal; 3],
    stop: Signal,
}

impl World {
    fn new(client: Client) -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::because(&error));
        let (told, news) = mpsc::channel(QUEUE_MAX);
        let (orders, ordered) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(feed::feed(client, ordered, told));
        let mut clock = interval(DRAW_EVERY);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            begun: Instant::now(),
            keys: keys(),
            news,
            orders,
            clock,
            ends: [
                listen(SignalKind::terminate())?,
                listen(SignalKind::interrupt())?,
                listen(SignalKind::hangup())?,
            ],
            stop: listen(SignalKind::from_raw(rustix::process::Signal::TSTP.as_raw()))?,
        })
    }

    async fn next(&mut self) -> Happening {
        let [terminate, interrupt, hangup] = &mut self.ends;
        tokio::select! {
            _ = terminate.recv() => Happening::Ended,
            _ = interrupt.recv() => Happening::Ended,
            _ = hangup.recv() => Happening::Ended,
            _ = self.stop.recv() => Happening::Stopped,
            key = self.keys.recv() => match key {
                Some(Ok(event)) => Happening::Event(event),
                Some(Err(error)) => Happening::Broken(error),
                None => Happening::Ended,
            },
            Some(news) = self.news.recv() => Happening::News(news),
            _ = self.clock.tick() => Happening::Drawn,
        }
    }

    async fn order(&self, order: Order) {
        // The feed ends only with the view.
        let _ = self.orders.send(order).await;
    }
}

/// Reads keys and resizes on a thread of its own, until nobody wants them any more.
fn keys() -> Receiver<io::Result<Event>> {
    let (sender, receiver) = mpsc::channel(QUEUE_MAX);
    thread::spawn(move || {
        loop {
            let event = event::read();
            let broken = event.is_err();
            if sender.blocking_send(event).is_err() || broken {
                return;
            }
        }
    });
    receiver
}
