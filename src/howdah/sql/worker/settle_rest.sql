-- Every other end of an attempt: on to a next step, queued again, suspended, parked (settle_moved); cancelled, or a success that
-- has effects or a parent (settle_ended). Then what goes with it, each a statement of its own: one statement cannot change a
-- row twice, and a task may be settled and sent to.
create or replace function howdah.settle_rest(
  worker      uuid,
  transitions jsonb,
  seq         bigint default null,
  eager       jsonb default null,
  room        int default 0,
  out settled bigint[],
  out kept    bigint[],
  out taken   json[],
  out readers bigint[],
  out due     boolean
)
language plpgsql
as $$
#variable_conflict use_column
declare
  moved record;
  ended record;
  news  jsonb;
begin
  if settle_rest.transitions @? '$[*] ? (!(exists (@.to)) || !(@.to == "queued" || @.to == "running" || @.to == "suspended" || @.to == "failed" || @.to == "succeeded" || @.to == "cancelled"))' then
    raise exception using errcode = 'HW002', message = 'a transition goes to queued, running, suspended, failed, succeeded or cancelled',
      hint = 'Give every transition one of them as "to"';
  elsif settle_rest.transitions @? '$[*] ? (exists (@.send) || exists (@.parent) || @.to == "cancelled")' then
    perform howdah.lock_tasks(howdah.concerned(settle_rest.transitions));
  end if;
  select * into moved from howdah.settle_moved(settle_rest.worker, settle_rest.transitions, settle_rest.seq);
  settled := moved.settled;
  kept := moved.kept;
  news := moved.news;
  due := moved.due;
  -- Without ids it is all NULLs, and costs next to nothing.
  select * into ended from howdah.settle_ended(settle_rest.worker, settle_rest.transitions, moved.others);
  settled := settled || ended.settled;
  news := case when news is null then ended.news when ended.news is null then news else news || ended.news end;
  if moved.spawned is not null or ended.spawned is not null then
    perform howdah.spawn(coalesce(moved.spawned, '[]') || coalesce(ended.spawned, '[]'));
  end if;
  if moved.letters is not null or ended.letters is not null or news is not null then
    -- The ends of children after what they sent.
    select d.taken, d.readers into settle_rest.taken, settle_rest.readers
      from howdah.deliver(jsonb_path_query_array(coalesce(moved.letters, '[]') || coalesce(ended.letters, '[]'), '$[*][*]') || howdah.ends(news),
                          settle_rest.worker, settle_rest.seq, settle_rest.eager, settle_rest.room) d;
  end if;
  if ended.readers is not null then
    perform howdah.empty_inboxes(ended.readers);
  end if;
  if ended.orphans is not null then
    perform howdah.cancel_children(ended.orphans);
  end if;
end
$$;
comment on function howdah.settle_rest(uuid, jsonb, bigint, jsonb, int) is
  'End attempts in any other way. transitions: a JSON array of {id, epoch, to, payload, step, queue, priority, result, delay (seconds) or run_at, attempts (keep, unspent, reset), error, reason, event, data, gone, parent; consumed: [message ids], inbox_seq (when the inbox was read), spawn: [tasks, as howdah.spawn takes them], enqueue: [the same, but nobody''s children], send: [{to, sender (itself), body}], joining, close: {seconds or until, group, reason} (start no more of its groups for so long)}. to = running, with the number of the claim: go on at once under the next epoch. With eager and room, what the messages wake begins at once too. Returns the ids that were still this worker''s at this epoch, those of them that it keeps, the tasks that it got besides, as pump returns them, and whether one that was to sleep is due at once.';
