"""Who may call each method of the task service. A method without a rule keeps it from starting."""

from shared.auth.permissions import Permission, Rule

ACCESS: dict[str, Rule] = {
    "/tandem.task.v1.TaskService/CreateTask": Permission.CREATE_TASKS,
    "/tandem.task.v1.TaskService/GetTask": Permission.READ_TASKS,
    "/tandem.task.v1.TaskService/BatchGetTasks": Permission.READ_TASKS,
    "/tandem.task.v1.TaskService/ListTasks": Permission.READ_TASKS,
    "/tandem.task.v1.TaskService/UpdateTask": Permission.MANAGE_TASKS,
    "/tandem.task.v1.TaskService/DeleteTask": Permission.MANAGE_TASKS,
    "/tandem.task.v1.TaskService/AssignTask": Permission.MANAGE_TASKS,
    "/tandem.task.v1.TaskService/UnassignTask": Permission.MANAGE_TASKS,
    "/tandem.task.v1.TaskService/UpdateTaskStatus": Permission.MOVE_TASKS,
    "/tandem.task.v1.TaskService/VerifyDependencies": Permission.CHECK_TASKS,
    "/tandem.task.v1.TaskService/AddDependency": Permission.MANAGE_TASKS,
    "/tandem.task.v1.TaskService/RemoveDependency": Permission.MANAGE_TASKS,
    "/tandem.task.v1.TaskService/CountTasks": Permission.READ_TASKS,
    "/tandem.task.v1.TaskService/WaitTask": Permission.READ_TASKS,
    "/tandem.event.v1.EventService/ListEvents": Permission.READ_EVENTS,
    "/tandem.event.v1.EventService/WatchEvents": Permission.READ_EVENTS,
}
