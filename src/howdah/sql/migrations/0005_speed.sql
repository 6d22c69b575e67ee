-- What a task may be, in one constraint. Each statement reads its constraints anew from their text, which for eleven of them took
-- longer than everything else about a small INSERT: so the common rows are let through by the shortest expression that is sure of
-- them, and howdah.check_task looks at the others, and says what is wrong.

create function howdah.check_task(task howdah.task) returns boolean
language plpgsql immutable
as $$ begin return true; end $$;  -- until the functions are put in

alter table howdah.task
  drop constraint status_is_known,
  drop constraint queued_has_a_time,
  drop constraint running_has_one_owner,
  drop constraint failed_has_an_error,
  drop constraint only_running_waits_for_cancel,
  drop constraint deadline_has_a_policy,
  drop constraint task_kind_check,
  drop constraint task_queue_check,
  drop constraint task_key_check,
  drop constraint task_attempt_check,
  drop constraint task_lost_check,
  add constraint task_is_sound check (
    (num_nonnulls(key, late, start_before, finish_before, error, cancel_at) = 0
     and case status when 'queued' then worker is null and isfinite(run_at)
                     when 'running' then num_nulls(worker, claim_seq) = 0 end
     -- Both are 1 to 200 long, if their product is.
     and nullif(length(kind) * length(queue), 0) <= 200
     and attempt | lost >= 0
     or howdah.check_task(task)) is true);
