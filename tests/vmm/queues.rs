//! Cloud Hypervisor's order of messages, each with an answer (check 27 of Kata's
//! contract).

use crate::rig::{FILES, LEN, Rig, STYLES, config, content};
use crate::support::frontend::Style;
use crate::support::image;
use crate::support::session::Session;
use crate::support::session::wire::{Body, op};

#[test]
fn queues_of_all_sizes_start_in_cloud_hypervisors_order() {
    let rig = Rig::new();
    for style in [Style::Inflight, Style::Available] {
        for size in [128, 256, 512, 1024] {
            let mut config = config(style);
            config.queue_size = size;
            let (mut guest, nodes) = rig.guest(&config);
            assert!(guest.frontend.queues_offered.unwrap() >= 2);
            assert!(guest.read(nodes[1], 0, 0, LEN).unwrap() == content(1));
        }
    }
}

#[test]
fn any_number_of_request_queues_is_served() {
    let image = image::small().unwrap();
    for queues in [1, 2, 3, 8] {
        let daemon = image
            .serve(&["--request-queues", &queues.to_string()])
            .unwrap();
        // A VMM that sets up fewer than there are, and all.
        for used in [1, queues] {
            let mut config = config(Style::Inflight);
            config.queues = used;
            let mut guest = Session::mount(daemon.socket(), &config).unwrap();
            assert_eq!(guest.frontend.queues_offered, Some(queues as u64 + 1));
            let node = guest.resolve(image::FILE).unwrap();
            for queue in 0..=used {
                guest.queue = queue;
                let found = guest.read(node, 0, 5, 1000).unwrap();
                let right = (5..1005).map(image::file_byte);
                assert!(found.into_iter().eq(right), "queue {queue} of {queues}");
            }
        }
    }
}

/// Every queue of several has requests in flight, and goes on by itself.
#[test]
fn each_queue_goes_on_where_it_was() {
    for style in STYLES {
        let mut rig = Rig::new();
        let mut config = config(style);
        config.queues = 3;
        let (mut guest, nodes) = rig.guest(&config);
        rig.hang(true);
        for (file, &node) in nodes.iter().enumerate().skip(1) {
            let body = Body::read(0, 0, 60_000).0;
            let queue = 1 + file % 3;
            guest
                .submit(queue, op::READ, node, &body, Some(LEN))
                .unwrap();
            guest.flush(queue).unwrap();
        }
        rig.await_fetches(1);
        rig.kill();
        rig.hang(false);
        rig.start();
        guest.reconnect().unwrap();
        for file in 1..FILES {
            let reply = guest.complete(1 + file % 3).unwrap();
            let found = guest.body(reply).unwrap();
            let same_queue = (1..FILES).filter(|it| it % 3 == file % 3);
            assert!(same_queue.map(content).any(|right| right == found));
        }
    }
}
